import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { KafkaConsumers } from './kafka-consumers';

/**
 * A stand-in for Kafka, which is not among the servers of the tests: one broker that takes every message of
 * the real client, and forgets it (https://kafka.apache.org/protocol).
 */
export interface KafkaServer {
  readonly broker: string;
  /** How many messages have come, by topic. */
  readonly received: Readonly<Record<string, number>>;
  close(): Promise<void>;
  /** Listens again, on its port. */
  restart(): Promise<void>;
}

/** Requests by their key, in the one version that is answered. */
const PRODUCE = 0;
const METADATA = 3;
const FIND_COORDINATOR = 10;
const API_VERSIONS = 18;
const INIT_PRODUCER = 22;
const ADD_PARTITIONS = 24;
const END_TRANSACTION = 26;
const VERSIONS: Readonly<Record<number, number>> = {
  [PRODUCE]: 3,
  [METADATA]: 1,
  [FIND_COORDINATOR]: 1,
  [API_VERSIONS]: 0,
  [INIT_PRODUCER]: 0,
  [ADD_PARTITIONS]: 0,
  [END_TRANSACTION]: 0,
};

/** Where a batch of records says how many they are: https://kafka.apache.org/documentation/#recordbatch */
const RECORDS_COUNT = 57;

/** With `consumers`, what has come is given to those who subscribe. */
export async function startKafkaServer(consumers?: KafkaConsumers): Promise<KafkaServer> {
  const received: Record<string, number> = {};
  const sockets = new Set<Socket>();
  const server = createServer(socket => {
    let pending = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    socket.on('data', bytes => {
      pending = Buffer.concat([pending, bytes]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readInt32BE()) {
        const request = new Reader(pending.subarray(4, 4 + pending.readInt32BE()));
        pending = pending.subarray(4 + pending.readInt32BE());
        const key = request.int16();
        request.int16();
        const correlation = int32(request.int32());
        request.text();
        const send = (content: Buffer): void => {
          const answer = Buffer.concat([correlation, content]);
          if (!socket.destroyed) socket.write(Buffer.concat([int32(answer.length), answer]));
        };
        if (consumers?.knows(key) === true) void consumers.answerTo(key, request).then(send);
        else send(answerTo(key, request, port, received, consumers));
      }
    });
  });
  const listen = async (at: number): Promise<number> => {
    server.listen(at, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const port = await listen(0);
  return {
    broker: `127.0.0.1:${port}`,
    received,
    close: async () => {
      sockets.forEach(socket => socket.destroy());
      server.close();
      await once(server, 'close');
    },
    restart: async () => void (await listen(port)),
  };
}

function answerTo(
  key: number,
  request: Reader,
  port: number,
  received: Record<string, number>,
  consumers: KafkaConsumers | undefined,
): Buffer {
  const broker = [int32(1), text('127.0.0.1'), int32(port)];
  switch (key) {
    case API_VERSIONS: {
      const versions = Object.entries({ ...VERSIONS, ...consumers?.versions }).map(([api, version]) =>
        Buffer.concat([int16(Number(api)), int16(version), int16(version)]),
      );
      return Buffer.concat([int16(0), list(versions)]);
    }
    case METADATA: {
      const partition = Buffer.concat([int16(0), int32(0), int32(1), list([int32(1)]), list([int32(1)])]);
      const topics = request.list(() => request.text());
      const isInternal = Buffer.from([0]);
      const known = topics.map(topic =>
        Buffer.concat([int16(0), text(topic), isInternal, list([partition])]),
      );
      const controller = int32(1);
      return Buffer.concat([list([Buffer.concat([...broker, text('')])]), controller, list(known)]);
    }
    case FIND_COORDINATOR:
      return Buffer.concat([int32(0), int16(0), text(''), ...broker]);
    case INIT_PRODUCER:
      return Buffer.concat([int32(0), int16(0), int64(1), int16(0)]);
    case ADD_PARTITIONS: {
      request.text();
      request.skip(8 + 2);
      const topics = request.list(() => [request.text(), request.list(() => request.int32())] as const);
      const added = topics.map(([topic, partitions]) =>
        Buffer.concat([text(topic), list(partitions.map(id => Buffer.concat([int32(id), int16(0)])))]),
      );
      return Buffer.concat([int32(0), list(added)]);
    }
    case END_TRANSACTION:
      return Buffer.concat([int32(0), int16(0)]);
    case PRODUCE:
      return Buffer.concat([list(take(request, received, consumers)), int32(0)]);
    default:
      throw new Error(`the stand-in does not know the request ${key}`);
  }
}

function take(request: Reader, received: Record<string, number>, consumers?: KafkaConsumers): Buffer[] {
  request.text();
  request.skip(2 + 4);
  return request.list(() => {
    const topic = request.text();
    const partitions = request.list(() => {
      const id = request.int32();
      const batch = request.bytes(request.int32());
      received[topic] = (received[topic] ?? 0) + batch.readInt32BE(RECORDS_COUNT);
      consumers?.add(topic, batch);
      return Buffer.concat([int32(id), int16(0), int64(0), int64(-1)]);
    });
    return Buffer.concat([text(topic), list(partitions)]);
  });
}

export class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  bytes(length: number): Buffer {
    this.#at += length;
    return this.#buffer.subarray(this.#at - length, this.#at);
  }

  skip(length: number): void {
    this.#at += length;
  }

  int16(): number {
    return this.bytes(2).readInt16BE();
  }

  int32(): number {
    return this.bytes(4).readInt32BE();
  }

  int64(): bigint {
    return this.bytes(8).readBigInt64BE();
  }

  /** Nothing where there is none. */
  text(): string {
    return this.bytes(Math.max(0, this.int16())).toString();
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: this.int32() }, read);
  }
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function int64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}

export const text = (value: string): Buffer => Buffer.concat([int16(value.length), Buffer.from(value)]);
export const list = (items: readonly Buffer[]): Buffer => Buffer.concat([int32(items.length), ...items]);
