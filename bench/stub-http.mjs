import { AsyncResource } from 'node:async_hooks';
import { Duplex } from 'node:stream';

const BODY = '{"answer":"as ever"}';
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${BODY.length}\r\nconnection: keep-alive\r\n\r\n${BODY}`,
);

/**
 * A connection without a socket: it answers every request that is written to it, in the context of the
 * connection as a socket does. Requests have no body, so what ends with an empty line is one.
 */
export class StubSocket extends Duplex {
  #connection = new AsyncResource('STUB_CONNECTION');
  #answer = () => this.#connection.runInAsyncScope(this.push, this, RESPONSE);

  constructor() {
    super({ autoDestroy: true });
    this.encrypted = false;
    this.connecting = false;
  }

  _read() {}

  _write(chunk, _encoding, done) {
    if (chunk.includes('\r\n\r\n')) process.nextTick(this.#answer);
    done();
  }

  _final(done) {
    this.push(null);
    done();
  }

  setTimeout() {
    return this;
  }
  setNoDelay() {
    return this;
  }
  setKeepAlive() {
    return this;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
}
