import { type CanActivate, Controller, Get, Query, type Type, UseGuards } from '@nestjs/common';
import type { CostRecord } from 'nestjs-async-context';
import { startApp, type TestApp, type TestAppOptions, until } from '../../support/platforms';
import type { LabelledHandler, ListRequest } from './labelled-handler';
import type { Shop } from './shop';

/** A way to ask each handler, of a route of its own, so that none knows what another has seen. */
export interface Mode {
  readonly name: string;
  /** How long the list of each request is. */
  readonly sizes: readonly number[];
  /** Rows that a guard loads before the handler. */
  readonly permissions?: number;
  /** Whether the requests of a handler come all at once. */
  readonly atOnce?: boolean;
}

/** What came of one request. */
export interface Answer {
  readonly handler: LabelledHandler;
  readonly request: ListRequest;
  readonly status: number;
  readonly record: CostRecord;
}

export interface LabelledApp extends TestApp {
  /** Asks all handlers. */
  ask(mode: Mode): Promise<Answer[]>;
}

const slug = (name: string): string => name.replaceAll(/\W+/g, '-').toLowerCase();

export async function startLabelledApp(
  shop: Shop,
  handlers: readonly LabelledHandler[],
  modes: readonly Mode[],
  options: TestAppOptions = {},
): Promise<LabelledApp> {
  const app = await startApp({
    // Hundreds of routes, which Express asks one after the other.
    platform: 'fastify',
    ...options,
    controllers: modes.map(mode => controllerOf(mode, handlers, shop)),
  });
  const get = async (mode: Mode, handler: LabelledHandler, request: ListRequest) => {
    const { size, turn } = request;
    const response = await fetch(
      `${app.url}/${slug(mode.name)}/${slug(handler.name)}?size=${size}&turn=${turn}`,
    );
    await response.text();
    return { handler, request, status: response.status, id: response.headers.get('x-request-id')! };
  };
  return {
    ...app,
    async ask(mode) {
      const answers: Awaited<ReturnType<typeof get>>[] = [];
      const askEach = async (some: readonly LabelledHandler[]): Promise<void> => {
        for (const handler of some) {
          const requests = mode.sizes.map((size, turn) => ({ size, turn }));
          if (mode.atOnce)
            answers.push(...(await Promise.all(requests.map(request => get(mode, handler, request)))));
          else for (const request of requests) answers.push(await get(mode, handler, request));
        }
      };
      // Two at a time, of which none knows the other: most of the time is waiting for a server.
      await Promise.all([
        askEach(handlers.filter(({ repeats }) => repeats.length === 0)),
        askEach(handlers.filter(({ repeats }) => repeats.length > 0)),
      ]);
      await until(() => app.sink.records.length >= answers.length, 'record of each request');
      const records = new Map(app.sink.records.map(record => [record.requestId, record]));
      app.sink.clear();
      return answers.map(({ id, ...answer }) => ({ ...answer, record: records.get(id)! }));
    },
  };
}

function controllerOf(mode: Mode, handlers: readonly LabelledHandler[], shop: Shop): Type {
  class ModeController {}
  const prototype = ModeController.prototype;
  for (const handler of handlers) {
    const method = slug(handler.name);
    const descriptor: PropertyDescriptor = {
      configurable: true,
      writable: true,
      async value(size: string, turn: string): Promise<void> {
        await handler.run(shop, { size: Number(size), turn: Number(turn) });
      },
    };
    Object.defineProperty(prototype, method, descriptor);
    Query('size')(prototype, method, 0);
    Query('turn')(prototype, method, 1);
    Get(method)(prototype, method, descriptor);
  }
  Object.defineProperty(ModeController, 'name', { value: mode.name });
  if (mode.permissions !== undefined) UseGuards(guardOf(mode.permissions, shop))(ModeController);
  Controller(slug(mode.name))(ModeController);
  return ModeController;
}

/** What the user may do, as an ordinary guard loads it. */
function guardOf(permissions: number, { q, id }: Shop): CanActivate {
  return {
    async canActivate() {
      const found = await q('SELECT id, action FROM permissions WHERE user_id = $1 ORDER BY id LIMIT $2', [
        id('users', 1),
        permissions,
      ]);
      return found.length === permissions;
    },
  };
}
