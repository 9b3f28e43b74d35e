import type { EventEmitter } from 'node:events';
import { inContext } from '../caller-context';
import type { QueryHandle, QueryReporter } from '../driver-instrumentation';
import { replaceMethod } from '../method-replacement';

type Callback = (this: unknown, error?: unknown, rows?: number, ...rest: unknown[]) => unknown;
type MakeRequest = (this: object, request: Request, packet: number, payload: Payload) => unknown;

interface Parameter {
  readonly name: string;
  readonly value: unknown;
}

/** What is sent: a request, or a bulk load. */
interface Request extends EventEmitter {
  readonly sqlTextOrProcedure?: string;
  readonly parameters?: readonly Parameter[];
  /** Of a request that was prepared. */
  readonly handle?: unknown;
  /** Of a bulk load. */
  readonly table?: string;
  callback: Callback;
}

interface Payload {
  /** A number stands for one of the server's own. */
  readonly procedure?: number | string;
  readonly parameters?: readonly Parameter[];
}

/** Types of packets, MS-TDS 2.2.3.1.1. */
const RPC = 3;
const BULK_LOAD = 7;
const TRANSACTION_MANAGER = 14;

/** Numbers of procedures, MS-TDS 2.2.6.6; `mssql` calls them by their names. */
const PREPARE: readonly unknown[] = [11, 'sp_prepare'];
const UNPREPARE: readonly unknown[] = [15, 'sp_unprepare'];
const MAX_PREPARED = 1_000;

/** The texts of what `mssql` has prepared on a connection, by handle: it executes the handle. */
const prepared = new WeakMap<object, Map<unknown, string>>();

/** Counts what a connection of `tedious` sends, but for what prepares it. */
export function countRequests(connection: object, reporter: QueryReporter): (() => void)[] {
  return replaceMethod<MakeRequest>(connection, 'makeRequest', original => {
    return function makeRequest(request, packet, payload) {
      let handle: QueryHandle | undefined;
      try {
        const text = textOf(this, request, packet, payload);
        const { parameters } = request.handle === undefined ? request : payload;
        if (text !== undefined) {
          handle = reporter.begin(text, 'mssql', makeRequest, parameters?.map(valueOf));
        }
      } catch (error) {
        process.nextTick(() => request.callback(error));
        return undefined;
      }
      bindToCaller(request, handle);
      return original.call(this, request, packet, payload);
    };
  });
}

const valueOf = ({ value }: Parameter): unknown => value;

function textOf(connection: object, request: Request, packet: number, payload: Payload): string | undefined {
  const { sqlTextOrProcedure: text, table } = request;
  const { procedure } = payload;
  if (packet === BULK_LOAD) return `INSERT INTO ${table} VALUES (?)`;
  if (packet === TRANSACTION_MANAGER) return 'COMMIT';
  // The server is told of the columns first, and then sent the rows.
  if (packet !== RPC) return text?.startsWith('insert bulk ') ? undefined : text;
  if (PREPARE.includes(procedure)) remember(connection, request);
  if (PREPARE.includes(procedure) || UNPREPARE.includes(procedure)) return undefined;
  if (typeof procedure === 'number') return text;
  const known = procedure === 'sp_execute' ? recall(connection, request) : undefined;
  return known ?? `EXEC ${procedure}`;
}

function remember(connection: object, request: Request): void {
  const text = request.parameters?.find(({ name }) => name === 'stmt')?.value;
  if (typeof text !== 'string') return;
  request.on('returnValue', (name: string, handle: unknown) => {
    let texts = prepared.get(connection);
    if (texts === undefined) prepared.set(connection, (texts = new Map()));
    if (name === 'handle' && texts.size < MAX_PREPARED) texts.set(handle, text);
  });
}

function recall(connection: object, { parameters }: Request): string | undefined {
  return prepared.get(connection)?.get(parameters?.find(({ name }) => name === 'handle')?.value);
}

/** What a request calls back, and its rows, come in the context that the connection was opened in. */
function bindToCaller(request: Request, handle: QueryHandle | undefined): void {
  const { callback, emit } = request;
  const isOwn = Object.hasOwn(request, 'emit');
  const back = inContext((error: unknown, rows: unknown, ...rest: unknown[]) =>
    callback.call(request, error, rows as number, ...rest),
  );
  request.emit = inContext(emit.bind(request)) as EventEmitter['emit'];
  request.callback = (error, rows = 0, ...rest) => {
    // One that is prepared is sent again, maybe by somebody else.
    request.callback = callback;
    if (isOwn) request.emit = emit;
    else delete (request as Partial<Request>).emit;
    handle?.end(error ? 0 : rows, Boolean(error));
    return back(error, rows, ...rest);
  };
}
