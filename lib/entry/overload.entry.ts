import type { HttpAdapterHost } from '@nestjs/core';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { OverloadMonitor } from '../guards/overload/overload-monitor';

type Emit = (event: string, ...args: unknown[]) => boolean;

interface EmittingServer {
  emit: Emit;
}

/** Callers that were refused at once do not come again at once. */
const ANSWERS = [1, 2, 3].map(seconds => ({ 'retry-after': String(seconds), 'content-length': '0' }));

/**
 * Refuses requests in front of the framework, on the server's own event: a refusal in a hook of the adapter costs
 * three to six times as much. Upgrades have an event of their own, and pass.
 */
export class OverloadEntry {
  readonly #monitor: OverloadMonitor;
  #leave: (() => void) | undefined;
  #turn = 0;

  constructor(monitor: OverloadMonitor) {
    this.#monitor = monitor;
  }

  install({ httpAdapter }: HttpAdapterHost): void {
    const server = httpAdapter?.getHttpServer() as Partial<EmittingServer> | undefined;
    if (typeof server?.emit !== 'function') return;
    const emitting = server as EmittingServer;
    const own = Object.getOwnPropertyDescriptor(server, 'emit');
    const { emit } = emitting;
    let isActive = true;
    const guarded: Emit = (event, ...args) => {
      if (event === 'request' && isActive && this.#monitor.sheds(args[0] as IncomingMessage)) {
        this.#answer(args[1] as ServerResponse);
        return true;
      }
      return emit.call(server, event, ...args);
    };
    emitting.emit = guarded;
    this.#leave = () => {
      isActive = false;
      // Somebody may have put another one in front of it since.
      if (emitting.emit !== guarded) return;
      if (own === undefined) delete (server as { emit?: Emit }).emit;
      else Object.defineProperty(server, 'emit', own);
    };
  }

  uninstall(): void {
    this.#leave?.();
    this.#leave = undefined;
  }

  #answer(response: ServerResponse): void {
    this.#turn = (this.#turn + 1) % ANSWERS.length;
    response.writeHead(503, ANSWERS[this.#turn]);
    response.end();
  }
}
