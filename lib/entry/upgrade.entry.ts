import type { HttpAdapterHost } from '@nestjs/core';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ResolvedOptions } from '../units/resolved-options';
import { contextStorage } from '../context/context-storage';
import { sharedName } from '../kernel/protocol';
import type { RequestContext } from '../context/request-context';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { IncomingHeaders } from '../units/incoming-headers';
import { type RawRequest, remember, rememberedContext } from '../context/remembered-context';
import type { UnitsOfWork } from '../units/units-of-work';

/** What a request for another protocol is called where no route takes it: its path may hold anything. */
const ROUTE = 'GET (upgrade)';
const STATUS_LINE = /^HTTP\/1\.1 (\d{3})/;

type Emit = (event: string, ...args: unknown[]) => boolean;

const ENTRIES = Symbol.for(sharedName('upgrades'));

interface EmittingServer {
  emit: Emit;
  /** Of the applications that share the server, also through several copies; those that are closed last. */
  [ENTRIES]?: UpgradeEntry[];
}

type Write = (this: Duplex, ...args: never[]) => unknown;

/**
 * Gives each request for a WebSocket a unit of work, from the first listener to the answer of the handshake.
 * What happens on the connection is not the work of that request.
 *
 * Such requests pass by the hooks of the platforms. On this server only: its class is shared.
 */
export class UpgradeEntry {
  readonly #units: UnitsOfWork;
  readonly #hookErrors: HookErrorReporter;
  readonly #incoming: IncomingHeaders;
  #leave: (() => void) | undefined;

  constructor(
    units: UnitsOfWork,
    hookErrors: HookErrorReporter,
    options: Pick<ResolvedOptions, 'requestId' | 'propagate'>,
  ) {
    this.#units = units;
    this.#hookErrors = hookErrors;
    this.#incoming = new IncomingHeaders(units, options);
  }

  install({ httpAdapter }: HttpAdapterHost): void {
    const server = httpAdapter?.getHttpServer() as Partial<EmittingServer> | undefined;
    if (typeof server?.emit !== 'function') return;
    const known = server[ENTRIES];
    const entries = known ?? [];
    entries.push(this);
    this.#leave = () => void entries.push(...entries.splice(entries.indexOf(this), 1));
    if (known !== undefined) return;
    Object.defineProperty(server, ENTRIES, { value: entries });
    // Another tool may replace that of all servers later.
    const own = Object.hasOwn(server, 'emit') ? server.emit : undefined;
    const emit: Emit = (...args) =>
      (own ?? (Object.getPrototypeOf(server) as EmittingServer).emit).apply(server, args);
    server.emit = (event, ...args) => {
      const context = event === 'upgrade' ? enterAll(entries, args) : undefined;
      return context === undefined ? emit(event, ...args) : contextStorage.run(context, emit, event, ...args);
    };
  }

  /** From then on another application on the same server opens them. */
  uninstall(): void {
    this.#leave?.();
  }

  /** The unit of work of an upgrade, opened by the first application that is asked. Never throws. */
  enter([request, socket]: readonly unknown[]): RequestContext | undefined {
    return this.#hookErrors.ask('upgrade entry', () => {
      const raw = request as RawRequest;
      const known = rememberedContext(raw);
      if (known === undefined) return this.#open(raw, socket as Duplex);
      known.share(this.#units);
      return known;
    });
  }

  #open(raw: IncomingMessage, socket: Duplex): RequestContext {
    const units = this.#units;
    const context = units.open('http', units.requestIds.of(raw, raw), raw.method);
    this.#incoming.read(context, raw);
    context.request = raw;
    remember(raw, context);
    const close = (): void => {
      context.route = context.currentRoute() ?? ROUTE;
      units.close(context);
    };
    const leave = (): void => {
      context.aborted = true;
      close();
    };
    socket.once('close', leave);
    onFirstWrite(socket, chunk => {
      socket.removeListener('close', leave);
      const [, status] = STATUS_LINE.exec(String(chunk).slice(0, 20)) ?? [];
      if (status !== undefined) context.status = Number(status);
      close();
    });
    return context;
  }
}

function enterAll(entries: readonly UpgradeEntry[], args: readonly unknown[]): RequestContext | undefined {
  let context: RequestContext | undefined;
  for (const entry of entries) context = entry.enter(args) ?? context;
  return context;
}

/** Tells what is written to a socket first: the answer, be it by `ws`, socket.io or the platform. */
function onFirstWrite(socket: Duplex, tell: (chunk: unknown) => void): void {
  const methods = socket as unknown as Record<'write' | 'end', Write>;
  const restore: (() => void)[] = [];
  for (const name of ['write', 'end'] as const) {
    const own = Object.getOwnPropertyDescriptor(socket, name);
    const method = methods[name];
    methods[name] = function (...args) {
      for (const back of restore) back();
      tell(args[0]);
      return method.apply(this, args);
    };
    restore.push(() => {
      if (own !== undefined) Object.defineProperty(socket, name, own);
      else delete (socket as Partial<Record<'write' | 'end', unknown>>)[name];
    });
  }
}
