import { BSON } from 'mongodb';
import { AsyncResource } from 'node:async_hooks';
import { Duplex } from 'node:stream';

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const HEADER = 16;

const HELLO = BSON.serialize({
  ok: 1,
  isWritablePrimary: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  minWireVersion: 0,
  maxWireVersion: 21,
});
const RESULT = BSON.serialize({
  ok: 1,
  cursor: {
    id: BSON.Long.ZERO,
    ns: 'bench.orders',
    firstBatch: [1, 2, 3].map(id => ({ _id: id, name: `order ${id}`, total: id * 10 })),
  },
});

/** What comes before the document in an answer: flags, and for `OP_REPLY` that there is one document. */
function reply(code, document) {
  const between = Buffer.alloc(code === OP_REPLY ? 20 : 5);
  if (code === OP_REPLY) between.writeInt32LE(1, 16);
  const header = Buffer.alloc(HEADER);
  header.writeInt32LE(HEADER + between.length + document.length, 0);
  header.writeInt32LE(code, 12);
  return Buffer.concat([header, between, document]);
}

const GREETING = reply(OP_REPLY, HELLO);
const MONITORING = reply(OP_MSG, HELLO);
const FOUND = reply(OP_MSG, RESULT);

/**
 * What the client of MongoDB has in place of a socket: it answers every command with the same three documents.
 *
 * An answer arrives in the context of the connection, as it does on a socket, and on the next tick: no turn
 * of the event loop and no system call is measured.
 */
export class StubSocket extends Duplex {
  #connection = new AsyncResource('STUB_CONNECTION');
  #answer = bytes => this.#connection.runInAsyncScope(this.push, this, bytes);

  constructor() {
    super({ emitClose: true });
    process.nextTick(() => this.emit('connect'));
  }

  _read() {}

  _write(message, _encoding, done) {
    const isGreeting = message.readInt32LE(12) === OP_QUERY;
    const isMonitoring = !isGreeting && message.includes('hello');
    const answer = Buffer.from(isGreeting ? GREETING : isMonitoring ? MONITORING : FOUND);
    answer.writeInt32LE(message.readInt32LE(4), 8);
    process.nextTick(this.#answer, answer);
    done();
  }

  setKeepAlive() {}
  setNoDelay() {}
  setTimeout() {}
}
