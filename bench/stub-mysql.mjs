import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';

export const STATEMENT = 'SELECT id, name, total FROM orders WHERE customer_id = ? LIMIT 3';

const QUERY = 3;
const HEADER = 4;

const VAR_STRING = 0xfd;
const UTF8 = 45;
const PLUGIN = 'mysql_native_password';
/** PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH, TRANSACTIONS: what a server has had since MySQL 5.5. */
const CAPABILITIES = 0x0008_a200;

/** Packets of one answer: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html */
function packets(first, ...bodies) {
  const framed = bodies.map((body, at) => {
    const head = Buffer.alloc(HEADER);
    head.writeUIntLE(body.length, 0, 3);
    head[3] = first + at;
    return Buffer.concat([head, body]);
  });
  return Buffer.concat(framed);
}

const int16 = value => Buffer.from([value & 255, value >> 8]);
const zeros = count => Buffer.alloc(count);
const text = value => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
const column = name =>
  Buffer.concat([
    ...['def', 'bench', 'orders', 'orders', name, name].map(text),
    Buffer.from([12]),
    int16(UTF8),
    zeros(4),
    Buffer.from([VAR_STRING]),
    zeros(5),
  ]);
const row = values => Buffer.concat(values.map(text));

const EOF = Buffer.from([0xfe, 0, 0, 2, 0]);
const OK = Buffer.from([0, 0, 0, 2, 0, 0, 0]);
const GREETING = packets(
  0,
  Buffer.concat([
    Buffer.from([10]),
    Buffer.from('8.0.0\0'),
    Buffer.from([1, 0, 0, 0]),
    Buffer.from('12345678\0'),
    int16(CAPABILITIES & 0xffff),
    Buffer.from([UTF8]),
    int16(2),
    int16(CAPABILITIES >> 16),
    Buffer.from([21]),
    zeros(10),
    Buffer.from('901234567890\0'),
    Buffer.from(`${PLUGIN}\0`),
  ]),
);
const RESULT = packets(
  1,
  Buffer.from([3]),
  column('id'),
  column('name'),
  column('total'),
  EOF,
  row(['1', 'first', '10.00']),
  row(['2', 'second', '20.00']),
  row(['3', 'third', '30.00']),
  EOF,
);

/**
 * What a client of MySQL has in place of a socket: it answers every query with the same three rows.
 *
 * An answer arrives in the context of the connection, as it does on a socket, and on the next tick: no turn
 * of the event loop and no system call is measured.
 */
export class StubSocket extends EventEmitter {
  writable = true;
  #connection = new AsyncResource('STUB_CONNECTION');
  #answer = bytes => this.#connection.runInAsyncScope(this.emit, this, 'data', bytes);

  constructor() {
    super();
    process.nextTick(() => {
      this.emit('connect');
      this.#answer(GREETING);
    });
  }

  write(bytes) {
    const isGreeted = bytes[3] > 0;
    process.nextTick(
      this.#answer,
      isGreeted ? packets(bytes[3] + 1, OK) : bytes[HEADER] === QUERY ? RESULT : packets(1, OK),
    );
    return true;
  }

  end() {
    this.writable = false;
    process.nextTick(() => this.emit('close'));
  }

  destroy() {
    this.end();
  }

  cork() {}
  uncork() {}
  pause() {}
  resume() {}
  setKeepAlive() {}
  setNoDelay() {}
  setTimeout() {}
}
