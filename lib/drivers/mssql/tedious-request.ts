import type { EventEmitter } from 'node:events';
import { MAX_ROWS_OF_RESULT } from '../../cost/evidence/kept-results';
import { undoOf } from '../../budget/refused-commit';
import { inContext } from '../../instrumentation/caller-context';
import type { QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { StackBoundary, QueryHandle } from '../../cost/query-handle';
import { replaceMethod } from '../../kernel/method-replacement';

type Callback = (this: unknown, error?: unknown, rows?: number, ...rest: unknown[]) => unknown;
type MakeRequest = (this: Connection, request: Request, packet: number, payload: Payload) => unknown;

/** What is counted before it is sent: a call of `mssql`, a bulk load that was announced. */
export interface Counted {
  readonly handle: QueryHandle | undefined;
  readonly isBulk: boolean;
  /** It was given up before it was sent. */
  isOver?: boolean;
}

/** On a connection: what it is about to send. */
export const COUNTED = Symbol('nestjs-async-context.counted');

interface Connection extends EventEmitter {
  [COUNTED]?: Counted | undefined;
  rollbackTransaction?(callback: () => void): unknown;
}

interface Parameter {
  readonly name?: string;
  readonly value?: unknown;
  /** Of what is sent, from `tedious` 20 on. */
  readonly data?: { readonly value: unknown };
}

/** What is sent: a request, or a bulk load. */
interface Request extends EventEmitter {
  readonly sqlTextOrProcedure?: string;
  readonly parameters?: readonly Parameter[];
  /** Of a request that was prepared. */
  readonly handle?: unknown;
  callback: Callback;
}

interface Cell {
  readonly metadata: { readonly colName: string };
  readonly value: unknown;
}

interface Payload {
  /** A number stands for one of the server's own. */
  readonly procedure?: number | string;
  readonly parameters?: readonly Parameter[];
}

/** One more than are looked at says that there are more. */
const MAX_SHOWN = MAX_ROWS_OF_RESULT + 1;

/** Types of packets, MS-TDS 2.2.3.1.1. */
const SQL_BATCH = 1;
const RPC = 3;
const BULK_LOAD = 7;
const TRANSACTION_MANAGER = 14;

/** By the first word of what `tedious` calls a request to the transaction manager. */
const TRANSACTIONS: Readonly<Record<string, string>> = {
  Begin: 'BEGIN',
  Commit: 'COMMIT',
  Rollback: 'ROLLBACK',
};

/** `sp_prepare` and `sp_unprepare`, MS-TDS 2.2.6.6; `mssql` calls them by their names. */
const PREPARES: readonly unknown[] = [11, 15, 'sp_prepare', 'sp_unprepare'];

const ROLLED_BACK = 'rollbackTransaction';

/** Tells the server of a table and its columns; the rows are sent when it has agreed. */
const ANNOUNCEMENT = /^insert bulk (.+?)\([[)].*$/s;

/** Counts what a connection of `tedious` sends, but for what prepares it. */
export function countRequests(connection: object, reporter: QueryReporter): (() => void)[] {
  return replaceMethod<MakeRequest>(connection, 'makeRequest', original => {
    return function makeRequest(request, packet, payload) {
      let counted: Counted;
      try {
        counted =
          takeCounted(this, request, packet) ?? begin(this, request, packet, payload, reporter, makeRequest);
      } catch (error) {
        keepBack(this, reporter, error, () => request.callback(error));
        return undefined;
      }
      counted.handle?.sent();
      const isAnnounced = counted.isBulk && packet === SQL_BATCH;
      if (isAnnounced) this[COUNTED] = counted;
      bindToCaller(request, counted.handle, (error, rows) => {
        if (error) this[COUNTED] = undefined;
        if (error || !isAnnounced) counted.handle?.end(error ? 0 : rows, Boolean(error));
      });
      return original.call(this, request, packet, payload);
    };
  });
}

/** Gives the error to the caller in place of sending a request; that of a COMMIT when all is rolled back. */
function keepBack(
  connection: Connection,
  reporter: QueryReporter,
  error: unknown,
  give: () => unknown,
): void {
  if (undoOf(error) !== 'instead' || connection.rollbackTransaction === undefined) {
    process.nextTick(give);
    return;
  }
  // `mssql` listens for transactions that the server has ended: it would let go of the connection, and then again.
  const listeners = connection.listeners(ROLLED_BACK) as (() => void)[];
  connection.removeAllListeners(ROLLED_BACK);
  const told = inContext(() => {
    for (const listener of listeners) connection.on(ROLLED_BACK, listener);
    give();
  });
  reporter.uncharged(() => connection.rollbackTransaction?.(told));
}

function takeCounted(connection: Connection, request: Request, packet: number): Counted | undefined {
  const counted = connection[COUNTED]?.isOver === true ? undefined : connection[COUNTED];
  if (packet === BULK_LOAD) {
    connection[COUNTED] = undefined;
    return counted ?? { handle: undefined, isBulk: true };
  }
  // Before a bulk load there may be one more: what makes its table.
  if (counted === undefined || counted.isBulk !== isAnnouncement(request, packet)) return undefined;
  connection[COUNTED] = undefined;
  return counted;
}

function isAnnouncement({ sqlTextOrProcedure = '' }: Request, packet: number): boolean {
  return packet === SQL_BATCH && ANNOUNCEMENT.test(sqlTextOrProcedure);
}

function begin(
  connection: object,
  request: Request,
  packet: number,
  payload: Payload,
  reporter: QueryReporter,
  stackBoundary: StackBoundary,
): Counted {
  const text = textOf(request, packet, payload);
  // The first one of what is executed says which of the prepared it is.
  const parameters = request.handle === undefined ? request.parameters : payload.parameters?.slice(1);
  const values = parameters && valuesOf(parameters);
  const handle =
    text === undefined ? undefined : reporter.begin(text, 'mssql', stackBoundary, values, connection);
  return { handle, isBulk: isAnnouncement(request, packet) };
}

/** By their names, as the places in the text have them: `@id`. */
function valuesOf(parameters: readonly Parameter[]): Record<string, unknown> {
  const values: Record<string, unknown> = {};
  for (const [i, { name = i, value, data }] of parameters.entries()) values[name] = data?.value ?? value;
  return values;
}

function textOf(request: Request, packet: number, payload: Payload): string | undefined {
  const { procedure } = payload;
  const { sqlTextOrProcedure: text } = request;
  if (packet === TRANSACTION_MANAGER) return TRANSACTIONS[String(payload).split(' ')[0] ?? ''] ?? 'SAVEPOINT';
  if (isAnnouncement(request, packet)) return text?.replace(ANNOUNCEMENT, 'INSERT INTO $1 VALUES (?)');
  if (packet !== RPC) return text;
  if (PREPARES.includes(procedure)) return undefined;
  return procedure === text ? `EXEC ${procedure}` : text;
}

/** By the names of its columns: several statements have others each. */
function showRow(handle: QueryHandle, cells: unknown): void {
  try {
    const row: Record<string, unknown> = {};
    // With `useColumnNames` they come in an object.
    for (const { metadata, value } of Object.values(cells as Record<string, Cell>))
      row[metadata.colName] = value;
    handle.returnedOne(row);
  } catch {
    // A version of tedious that has its rows in another form.
  }
}

/** What a request calls back may come in the context that the connection was opened in: when it is lost. */
function bindToCaller(
  request: Request,
  handle: QueryHandle | undefined,
  end: (error: unknown, rows: number) => void,
): void {
  const { callback, emit } = request;
  const isOwn = Object.hasOwn(request, 'emit');
  const back = inContext((error: unknown, rows: unknown, ...rest: unknown[]) =>
    callback.call(request, error, rows as number, ...rest),
  );
  let returned = 0;
  request.emit = (event: string, ...args: unknown[]) => {
    if (event === 'row') {
      returned += 1;
      if (handle !== undefined && returned <= MAX_SHOWN) showRow(handle, args[0]);
    }
    return emit.call(request, event, ...args);
  };
  request.callback = (error, rows, ...rest) => {
    // One that is prepared is sent again, maybe by somebody else.
    request.callback = callback;
    if (isOwn) request.emit = emit;
    else delete (request as Partial<Request>).emit;
    // With NOCOUNT the server does not tell how many there are.
    end(error, Math.max(rows ?? 0, returned));
    return back(error, rows, ...rest);
  };
}
