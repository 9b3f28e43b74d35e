import { BSON, type Document } from 'mongodb';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/**
 * A stand-in for MongoDB, which is not among the servers of the tests: it speaks `OP_MSG` to the real
 * driver, and keeps documents in memory. Filters compare for equality, `$gt` and `$in`; pipelines pass
 * `$match` and `$limit`.
 * https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 */
export interface MongoServer {
  readonly url: string;
  /** Cuts every connection. */
  cut(): void;
  close(): Promise<void>;
}

const OP_MSG = 2013;
const OP_QUERY = 2004;
const OP_REPLY = 1;
const HEADER = 16;

const HELLO = {
  isWritablePrimary: true,
  ismaster: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  logicalSessionTimeoutMinutes: 30,
  minWireVersion: 0,
  maxWireVersion: 21,
  readOnly: false,
  ok: 1,
};

export async function startMongoServer(): Promise<MongoServer> {
  const store = new Store();
  const sockets = new Set<Socket>();
  const server = createServer(socket => {
    sockets.add(socket);
    let pending = Buffer.alloc(0);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.on('data', bytes => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 4 && pending.length >= pending.readInt32LE(0)) {
        const length = pending.readInt32LE(0);
        const message = pending.subarray(0, length);
        pending = pending.subarray(length);
        void answer(socket, message, store);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const cut = (): void => sockets.forEach(socket => socket.destroy());
  return {
    url: `mongodb://127.0.0.1:${port}/test?directConnection=true`,
    cut,
    close: async () => {
      server.close();
      cut();
      await once(server, 'close');
    },
  };
}

async function answer(socket: Socket, message: Buffer, store: Store): Promise<void> {
  const id = message.readInt32LE(4);
  const isQuery = message.readInt32LE(12) === OP_QUERY;
  const command = isQuery ? {} : readCommand(message);
  const reply = isQuery ? HELLO : await store.run(command);
  const body = BSON.serialize(reply);
  // OP_QUERY is how a driver says hello before it knows the server.
  const between = isQuery ? Buffer.alloc(20) : Buffer.alloc(5);
  if (isQuery) between.writeInt32LE(1, 16);
  const header = Buffer.alloc(HEADER);
  header.writeInt32LE(HEADER + between.length + body.length, 0);
  header.writeInt32LE(id, 8);
  header.writeInt32LE(isQuery ? OP_REPLY : OP_MSG, 12);
  socket.write(Buffer.concat([header, between, body]));
}

/** A section of kind 0 is the command, one of kind 1 a list that belongs to it. */
function readCommand(message: Buffer): Document {
  let command: Document = {};
  const lists: Document = {};
  for (let at = HEADER + 4; at < message.length;) {
    const kind = message[at];
    const size = message.readInt32LE(at + 1);
    if (kind === 0) {
      command = BSON.deserialize(message.subarray(at + 1, at + 1 + size));
    } else {
      const end = message.indexOf(0, at + 5);
      const documents: Document[] = [];
      for (let from = end + 1; from < at + 1 + size; from += message.readInt32LE(from)) {
        documents.push(BSON.deserialize(message.subarray(from, from + message.readInt32LE(from))));
      }
      lists[message.toString('utf8', at + 5, end)] = documents;
    }
    at += 1 + size;
  }
  return { ...command, ...lists };
}

class Store {
  readonly #collections = new Map<string, Document[]>();
  readonly #cursors = new Map<bigint, Document[]>();
  #nextCursor = 1n;

  async run(command: Document): Promise<Document> {
    const name = Object.keys(command)[0] ?? '';
    const collection = String(name === 'getMore' ? command['collection'] : command[name]);
    const documents = this.#of(collection);
    switch (name) {
      case 'hello':
      case 'isMaster':
      case 'ismaster':
        return HELLO;
      case 'find': {
        const { filter = {}, limit = 0, batchSize = 101 } = command;
        if ('$sleep' in filter) await new Promise(resolve => setTimeout(resolve, Number(filter['$sleep'])));
        if ('$fail' in filter) return { ok: 0, code: 2, codeName: 'BadValue', errmsg: 'told to fail' };
        const found = documents.filter(matches(filter));
        return this.#cursor(collection, limit > 0 ? found.slice(0, limit) : found, batchSize);
      }
      case 'aggregate': {
        const pipeline = command['pipeline'] as Document[];
        let found = documents;
        for (const stage of pipeline) {
          if (stage['$match'] !== undefined) found = found.filter(matches(stage['$match'] as Document));
          if (stage['$limit'] !== undefined) found = found.slice(0, Number(stage['$limit']));
          if (stage['$group'] !== undefined) found = [{ _id: 1, n: found.length }];
        }
        return this.#cursor(collection, found, Number(command['cursor']?.batchSize ?? 101));
      }
      case 'getMore': {
        const id = BigInt(String(command['getMore']));
        const rest = this.#cursors.get(id) ?? [];
        const nextBatch = rest.splice(0, Number(command['batchSize'] ?? 1_000));
        return {
          cursor: {
            id: BSON.Long.fromBigInt(rest.length > 0 ? id : 0n),
            ns: `test.${collection}`,
            nextBatch,
          },
          ok: 1,
        };
      }
      case 'insert': {
        const inserted = command['documents'] as Document[];
        const clash = inserted.findIndex(one =>
          documents.some(({ _id }) => String(_id) === String(one['_id'])),
        );
        if (clash >= 0) {
          return {
            n: clash,
            ok: 1,
            writeErrors: [{ index: clash, code: 11_000, errmsg: 'E11000 duplicate key' }],
          };
        }
        documents.push(...inserted);
        return { n: inserted.length, ok: 1 };
      }
      case 'update': {
        const found = (command['updates'] as Document[]).flatMap(({ q, u, multi }) => {
          const hits = documents.filter(matches(q as Document)).slice(0, multi ? undefined : 1);
          hits.forEach(hit => Object.assign(hit, (u as Document)['$set']));
          return hits;
        });
        return { n: found.length, nModified: found.length, ok: 1 };
      }
      case 'delete': {
        const gone = (command['deletes'] as Document[]).flatMap(({ q, limit }) =>
          documents.filter(matches(q as Document)).slice(0, limit === 1 ? 1 : undefined),
        );
        this.#collections.set(
          collection,
          documents.filter(one => !gone.includes(one)),
        );
        return { n: gone.length, ok: 1 };
      }
      case 'findAndModify': {
        const hit = documents.find(matches(command['query'] as Document)) ?? null;
        if (hit !== null) Object.assign(hit, (command['update'] as Document)['$set']);
        return { value: hit, lastErrorObject: { n: hit === null ? 0 : 1 }, ok: 1 };
      }
      case 'count':
        return {
          n: documents.filter(matches((command['query'] as Document | undefined) ?? {})).length,
          ok: 1,
        };
      case 'distinct':
        return { values: [...new Set(documents.map(one => one[String(command['key'])] as unknown))], ok: 1 };
      default:
        return { ok: 1 };
    }
  }

  #of(name: string): Document[] {
    let documents = this.#collections.get(name);
    if (documents === undefined) this.#collections.set(name, (documents = []));
    return documents;
  }

  #cursor(collection: string, found: Document[], batchSize: number): Document {
    const rest = found.slice(batchSize);
    const id = rest.length > 0 ? this.#nextCursor++ : 0n;
    if (rest.length > 0) this.#cursors.set(id, rest);
    const cursor = {
      id: BSON.Long.fromBigInt(id),
      ns: `test.${collection}`,
      firstBatch: found.slice(0, batchSize),
    };
    return { cursor, ok: 1 };
  }
}

function matches(filter: Document): (document: Document) => boolean {
  return document =>
    Object.entries(filter).every(([name, wanted]) => {
      if (name.startsWith('$')) return true;
      const value: unknown = document[name];
      const { $gt, $in, $eq } = (wanted ?? {}) as { $gt?: number; $in?: unknown[]; $eq?: unknown };
      if ($gt !== undefined) return Number(value) > $gt;
      if ($in !== undefined) return $in.some(one => String(one) === String(value));
      return String(value) === String($eq ?? wanted);
    });
}
