import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { Client } from 'pg';

export const STATEMENT = 'SELECT id, name, total FROM orders WHERE customer_id = $1 LIMIT 3';

const FIRST_BYTE_STARTUP = 0;
const QUERY = 'Q'.charCodeAt(0);
const SYNC = 'S'.charCodeAt(0);
const TERMINATE = 'X'.charCodeAt(0);
const PARSE = 'P'.charCodeAt(0);
const BIND = 'B'.charCodeAt(0);

/** One backend message of the PostgreSQL protocol: its type, its length, its body. */
function message(type, ...parts) {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const int16 = value => Buffer.from([(value >> 8) & 255, value & 255]);
const int32 = value =>
  Buffer.from([(value >> 24) & 255, (value >> 16) & 255, (value >> 8) & 255, value & 255]);
const text = value => Buffer.from(`${value}\0`);

const TEXT_TYPE = 25;
const column = name => [text(name), int32(0), int16(0), int32(TEXT_TYPE), int16(-1), int32(-1), int16(0)];
const row = values =>
  message('D', int16(values.length), ...values.flatMap(value => [int32(value.length), Buffer.from(value)]));

const READY = message('Z', Buffer.from('I'));
const GREETING = Buffer.concat([message('R', int32(0)), READY]);
const PARSED = message('1');
const BOUND = message('2');
const PARAMETERS = message('t', int16(1), int32(TEXT_TYPE));
const COLUMNS = message('T', int16(3), ...column('id'), ...column('name'), ...column('total'));
const rowsOf = count =>
  Buffer.concat([
    ...Array.from({ length: count }, (_, i) => row([`${i + 1}`, `order ${i + 1}`, `${i + 1}0.00`])),
    message('C', text(`SELECT ${count}`)),
    READY,
  ]);
const resultOf = count => Buffer.concat([PARSED, BOUND, COLUMNS, rowsOf(count)]);
const PREPARED = Buffer.concat([PARSED, PARAMETERS, COLUMNS]);
const EXECUTED = Buffer.concat([BOUND, rowsOf(3)]);

/**
 * The stream of a `pg` connection without a socket: it answers every query with the same rows.
 *
 * An answer arrives in the context of the connection, as it does on a socket, and not in that of the
 * query. It arrives on the next tick: no turn of the event loop and no system call is measured.
 */
class StubStream extends EventEmitter {
  writable = true;
  #connection = new AsyncResource('STUB_CONNECTION');
  #result;
  #answer = bytes => this.#connection.runInAsyncScope(this.emit, this, 'data', bytes);

  constructor(rows = 3) {
    super();
    this.#result = resultOf(rows);
  }

  connect() {
    process.nextTick(() => this.emit('connect'));
    return this;
  }

  write(bytes) {
    const type = bytes[0];
    const answer = type === FIRST_BYTE_STARTUP ? GREETING : this.answerTo(type);
    if (answer !== undefined) process.nextTick(this.#answer, answer);
    else if (type === TERMINATE) this.end();
    return true;
  }

  /** `pg` writes its messages one by one. */
  answerTo(type) {
    return type === SYNC || type === QUERY ? this.#result : undefined;
  }

  end() {
    this.writable = false;
    process.nextTick(() => this.emit('close'));
  }

  destroy() {
    this.end();
  }

  setNoDelay() {}
  setKeepAlive() {}
  ref() {}
  unref() {}
}

/** `postgres` asks for the types first, and writes all that it asks at once. */
class PreparingStubStream extends StubStream {
  readyState = 'open';

  answerTo(type) {
    if (type === PARSE) return PREPARED;
    return type === BIND ? EXECUTED : undefined;
  }
}

/** The stream of a `postgres` connection. */
export function preparingStub() {
  return new PreparingStubStream().connect();
}

/** A real `pg.Client` whose protocol, queue and `Query` run as ever, on a stream that stays in the process. */
export async function connectStub(rows) {
  const client = new Client({ stream: new StubStream(rows), user: 'bench', password: 'bench' });
  await client.connect();
  return client;
}
