import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';

export const ANSWER = Buffer.from('$5\r\nthird\r\n');

/**
 * What a client of Redis has in place of a socket: each write is one command and has the same answer.
 *
 * An answer arrives in the context of the connection, as it does on a socket, and on the next tick: no
 * turn of the event loop and no system call is measured.
 */
export class StubSocket extends EventEmitter {
  writable = true;
  #connection = new AsyncResource('STUB_CONNECTION');
  #answer = () => this.#connection.runInAsyncScope(this.emit, this, 'data', ANSWER);

  write() {
    process.nextTick(this.#answer);
    return true;
  }

  end() {
    this.writable = false;
    process.nextTick(() => this.emit('close'));
  }

  destroy() {
    this.end();
  }

  resume() {}
  setKeepAlive() {}
  setNoDelay() {}
  setTimeout() {}
}
