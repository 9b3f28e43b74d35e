import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/**
 * A stand-in for SQL Server, which is not among the servers of the tests: it speaks TDS 7.4, unencrypted, to
 * the real client (MS-TDS, https://learn.microsoft.com/openspecs/windows_protocols/ms-tds).
 *
 * It keeps no data. A `SELECT` has one row, or `TOP n`; a write has affected one, or `TOP n`; a procedure
 * returns two; `WAITFOR DELAY` waits; the table `nowhere` is not there; `SET NOCOUNT ON` keeps the numbers
 * of rows to itself.
 */
export interface TdsServer {
  readonly port: number;
  /** Texts, and names of procedures, as they have come. */
  readonly received: string[];
  /** Cuts every connection. */
  cut(): void;
  close(): Promise<void>;
}

/** Types of messages, 2.2.3.1.1. */
const SQL_BATCH = 1;
const RPC = 3;
const ANSWER = 4;
const ATTENTION = 6;
const BULK_LOAD = 7;
const TRANSACTION = 14;
const LOGIN = 16;
const PRELOGIN = 18;

const HEADER = 8;
const LAST_OF_MESSAGE = 1;
const MAX_PACKET = 4_000;

/** What ends a statement, one in a procedure, and a procedure: 2.2.7.6 to 2.2.7.8. */
const DONE = 0xfd;
const DONE_PROCEDURE = 0xfe;
const DONE_IN_PROCEDURE = 0xff;
/** The status of each. */
const MORE = 0x01;
const FAILED = 0x02;
const COUNT = 0x10;
const ATTENTION_SEEN = 0x20;

const PROCEDURES: Readonly<Record<number, string>> = {
  10: 'sp_executesql',
  11: 'sp_prepare',
  12: 'sp_execute',
  15: 'sp_unprepare',
};

export async function startTdsServer(): Promise<TdsServer> {
  const sockets = new Set<Socket>();
  const received: string[] = [];
  const server = createServer(socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
    const session = new Session(socket, received);
    socket.on('data', bytes => session.read(bytes));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = (): void => sockets.forEach(socket => socket.destroy());
  return {
    port: (server.address() as AddressInfo).port,
    received,
    cut,
    close: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}

class Session {
  readonly #socket: Socket;
  readonly #received: string[];
  readonly #prepared = new Map<number, string>();
  #pending = Buffer.alloc(0);
  #message: Buffer[] = [];
  #delay: NodeJS.Timeout | undefined;

  constructor(socket: Socket, received: string[]) {
    this.#socket = socket;
    this.#received = received;
  }

  read(bytes: Buffer): void {
    this.#pending = Buffer.concat([this.#pending, bytes]);
    while (this.#pending.length >= HEADER && this.#pending.length >= this.#pending.readUInt16BE(2)) {
      const packet = this.#pending.subarray(0, this.#pending.readUInt16BE(2));
      this.#pending = this.#pending.subarray(packet.length);
      this.#message.push(packet.subarray(HEADER));
      if ((packet.readUInt8(1) & LAST_OF_MESSAGE) === 0) continue;
      const body = Buffer.concat(this.#message);
      this.#message = [];
      this.#receive(packet.readUInt8(0), body);
    }
  }

  #receive(type: number, body: Buffer): void {
    if (type === PRELOGIN) return this.#send([UNENCRYPTED]);
    if (type === LOGIN) return this.#send([LOGIN_ACKNOWLEDGED, done()]);
    if (type === BULK_LOAD) return this.#send([done(COUNT, rowsIn(body))]);
    if (type === ATTENTION) {
      clearTimeout(this.#delay);
      // What was asked for has its answer, and what cut it short as well.
      this.#send([done()]);
      return this.#send([done(ATTENTION_SEEN)]);
    }
    const request = body.subarray(body.readUInt32LE(0));
    if (type === TRANSACTION) return this.#send([transactionChanged(request.readUInt16LE(0)), done()]);
    if (type === SQL_BATCH) return this.#answer(request.toString('utf16le'));
    if (type === RPC) this.#call(readCall(request));
  }

  #call({ procedure, values }: Call): void {
    if (procedure === 'sp_prepare') {
      const handle = this.#prepared.size + 1;
      this.#prepared.set(handle, String(values[2]));
      return this.#send([RETURN_STATUS, returnValue('handle', handle), PROCEDURE_DONE]);
    }
    if (procedure === 'sp_unprepare') return this.#send([RETURN_STATUS, PROCEDURE_DONE]);
    const known: Record<string, string | undefined> = {
      sp_executesql: String(values[0]),
      sp_execute: this.#prepared.get(Number(values[0])),
    };
    if (!(procedure in known)) this.#received.push(procedure);
    const text = procedure in known ? known[procedure] : `SELECT TOP 2 * FROM ${procedure}`;
    this.#answer(text ?? 'SELECT * FROM nowhere', [RETURN_STATUS, PROCEDURE_DONE]);
  }

  /** The tokens of each statement of a text, one after the other. */
  #answer(text: string, end: Buffer[] = []): void {
    this.#received.push(text);
    const statements = text.split(';').filter(statement => statement.trim() !== '');
    const count = /\bNOCOUNT ON\b/.test(text) ? 0 : COUNT;
    const type = end.length > 0 ? DONE_IN_PROCEDURE : DONE;
    const results = statements.map((statement, at) => {
      const isLast = end.length === 0 && at === statements.length - 1;
      return resultOf(statement, type, isLast ? 0 : MORE, count);
    });
    const [, seconds = '0'] = /WAITFOR DELAY '00:00:(\d+\.\d+)'/i.exec(text) ?? [];
    const send = (): void => this.#send([...results, ...end]);
    if (seconds === '0') send();
    else this.#delay = setTimeout(send, Number(seconds) * 1_000);
  }

  #send(tokens: Buffer[]): void {
    const body = Buffer.concat(tokens);
    for (let at = 0; at < body.length; at += MAX_PACKET) {
      const part = body.subarray(at, at + MAX_PACKET);
      const header = Buffer.alloc(HEADER);
      header.writeUInt8(ANSWER, 0);
      header.writeUInt8(at + MAX_PACKET >= body.length ? LAST_OF_MESSAGE : 0, 1);
      header.writeUInt16BE(HEADER + part.length, 2);
      this.#socket.write(Buffer.concat([header, part]));
    }
  }
}

function resultOf(statement: string, type: number, more: number, count: number): Buffer {
  const [, top = '1'] = /\bTOP \(?(\d+)/i.exec(statement) ?? [];
  if (/\bnowhere\b/.test(statement)) {
    return Buffer.concat([error(208, "Invalid object name 'nowhere'."), done(FAILED | more, 0, type)]);
  }
  if (/^\s*(?:INSERT|UPDATE|DELETE)\b/i.test(statement)) return done(count | more, Number(top), type);
  if (!/^\s*SELECT\b/i.test(statement)) return done(more, 0, type);
  const rows = Array.from({ length: Number(top) }, (_, at) => row(at + 1, 'order'));
  return Buffer.concat([COLUMNS, ...rows, done(count | more, rows.length, type)]);
}

/** Rows of a bulk load have the form of those in an answer, and are followed by a DONE token. */
function rowsIn(body: Buffer): number {
  const ROW_OF_ONE_INT = Buffer.from([0xd1, 4]);
  let rows = 0;
  for (let at = body.indexOf(ROW_OF_ONE_INT); at >= 0; at = body.indexOf(ROW_OF_ONE_INT, at + 1)) rows += 1;
  return rows;
}

interface Call {
  readonly procedure: string;
  readonly values: readonly (number | string | null)[];
}

/** 2.2.6.6, with parameters of the types that the tests send. */
function readCall(request: Buffer): Call {
  let at = 0;
  const take = (length: number): Buffer => request.subarray(at, (at += length));
  const nameLength = take(2).readUInt16LE();
  const procedure =
    nameLength === 0xffff
      ? (PROCEDURES[take(2).readUInt16LE()] ?? '?')
      : take(2 * nameLength).toString('utf16le');
  take(2);
  const values: (number | string | null)[] = [];
  while (at < request.length) {
    take(2 * take(1).readUInt8() + 1);
    const type = take(1).readUInt8();
    if (type === 0x26) {
      take(1);
      const length = take(1).readUInt8();
      values.push(length === 0 ? null : take(length).readIntLE(0, Math.min(length, 6)));
    } else if (type === 0xe7) {
      const isLong = take(2 + 5).readUInt16LE() === 0xffff;
      values.push(isLong ? takeLong(take) : takeShort(take));
    } else {
      throw new Error(`the stand-in does not know the type ${type} of a parameter`);
    }
  }
  return { procedure, values };
}

function takeShort(take: (length: number) => Buffer): string | null {
  const length = take(2).readUInt16LE();
  return length === 0xffff ? null : take(length).toString('utf16le');
}

/** In chunks, 2.2.5.2.3. */
function takeLong(take: (length: number) => Buffer): string | null {
  if (take(8).readBigUInt64LE() === 0xffff_ffff_ffff_ffffn) return null;
  let text = '';
  for (let length = take(4).readUInt32LE(); length > 0; length = take(4).readUInt32LE()) {
    text += take(length).toString('utf16le');
  }
  return text;
}

const int16 = (value: number): Buffer => Buffer.from([value & 255, (value >> 8) & 255]);
const int32 = (value: number): Buffer => Buffer.from(Int32Array.of(value).buffer);
const wide = (text: string): Buffer => Buffer.from(text, 'utf16le');
const shortText = (text: string): Buffer => Buffer.concat([Buffer.from([text.length]), wide(text)]);
const COLLATION = Buffer.from([0x09, 0x04, 0xd0, 0x00, 0x34]);
const INT = Buffer.from([0x26, 4]);
const TEXT = Buffer.concat([Buffer.from([0xe7]), int16(200), COLLATION]);

/** 2.2.6.5: the version of the server, and that it knows no encryption. */
const UNENCRYPTED = Buffer.from([0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, 2]);

function token(type: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([type]), int16(body.length), body]);
}

/** 2.2.7.14 */
const LOGIN_ACKNOWLEDGED = token(
  0xad,
  Buffer.from([1, 0x74, 0, 0, 4]),
  shortText('stand-in'),
  Buffer.from([16, 0, 0, 0]),
);

/** 2.2.7.6 */
function done(status = 0, count = 0, type = DONE): Buffer {
  return Buffer.concat([Buffer.from([type]), int16(status), int16(0xc1), int32(count), int32(0)]);
}

/** 2.2.7.10 */
function error(number: number, message: string): Buffer {
  const text = Buffer.concat([int16(message.length), wide(message)]);
  return token(0xaa, int32(number), Buffer.from([1, 16]), text, shortText('s'), shortText(''), int32(1));
}

/** 2.2.7.4 */
const COLUMNS = Buffer.concat([
  Buffer.from([0x81]),
  int16(2),
  ...[[INT, 'id'] as const, [TEXT, 'name'] as const].flatMap(([type, name]) => [
    int32(0),
    int16(0),
    type,
    shortText(name),
  ]),
]);

/** 2.2.7.19 */
function row(id: number, name: string): Buffer {
  return Buffer.concat([Buffer.from([0xd1, 4]), int32(id), int16(2 * name.length), wide(name)]);
}

const PROCEDURE_DONE = done(0, 0, DONE_PROCEDURE);
const RETURN_STATUS = Buffer.concat([Buffer.from([0x79]), int32(0)]);

/** 2.2.7.18 */
function returnValue(name: string, value: number): Buffer {
  const type = [Buffer.from([1]), int32(0), int16(0), INT];
  return Buffer.concat([
    Buffer.from([0xac]),
    int16(0),
    shortText(`@${name}`),
    ...type,
    Buffer.from([4]),
    int32(value),
  ]);
}

/** 2.2.7.8, of the kinds of request in 2.2.6.9: what begins has a descriptor, which what ends takes back. */
function transactionChanged(request: number): Buffer {
  const descriptor = Buffer.from([8, 1, 0, 0, 0, 0, 0, 0, 0]);
  const none = Buffer.from([0]);
  if (request === 5) return token(0xe3, Buffer.from([8]), descriptor, none);
  return token(0xe3, Buffer.from([request === 7 ? 9 : 10]), none, descriptor);
}
