import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Programs } from '../support/child';
import { databaseUrl, isEmbedded } from '../support/database';

const PROGRAM = 'test/agents/program.ts';
const preload = join(import.meta.dirname, 'preload.cjs');
const isInstalled = existsSync(join(import.meta.dirname, 'node_modules', 'dd-trace'));
// Large, and wanted by nobody else: `npm ci --prefix test/agents` installs them.
const isWanted = isInstalled || process.env['AGENTS'] === 'required';

interface Result {
  readonly answers: Record<string, string[]>;
  readonly records: { handler: string; queries: number[]; http: number[] }[];
  readonly late: string[];
}

describe.skipIf(!isWanted)('behind an agent (npm ci --prefix test/agents)', () => {
  let programs: Programs;
  let collector: Server;
  let echo: Server;
  const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  beforeAll(async () => {
    programs = new Programs(PROGRAM);
    collector = createServer((request, response) => {
      request.resume().on('end', () => response.setHeader('content-type', 'application/json').end('{}'));
    });
    echo = createServer((request, response) => response.end(request.url));
    for (const server of [collector, echo]) {
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    }
  });
  afterAll(() => {
    programs.remove();
    collector.close();
    echo.close();
  });

  const AGENTS = [
    'dd-trace',
    '@sentry/node',
    'elastic-apm-node',
    '@opentelemetry/auto-instrumentations-node',
    'newrelic',
  ];

  /** How each is loaded: before this package by Node, or after it by the program. */
  const ORDERS = { '-r': ['-r', preload], '--import': ['--import', pathToFileURL(preload).href], after: [] };

  it.each(
    AGENTS.flatMap(agent =>
      (Object.keys(ORDERS) as (keyof typeof ORDERS)[]).map(order => [agent, order] as const),
    ),
  )(
    'loaded as %s, %s, each request is charged its own, and the answers are the same',
    async (agent, order) => {
      const child = programs.start<Result>(
        PROGRAM,
        {
          agent,
          order,
          preload,
          collector: urlOf(collector),
          echo: urlOf(echo),
          database: databaseUrl(),
          max: isEmbedded ? 1 : 3,
        },
        ORDERS[order],
      );
      await child.exited;
      const result = child.said.at(-1);
      if (result === undefined) throw new Error(`nothing said: ${child.stderr}`);
      const thrice = (text: (n: number) => string): string[] =>
        Array.from({ length: 24 }, (_, n) => JSON.stringify([text(n), text(n), text(n)]));
      expect(result.answers).toEqual({ queries: thrice(String), calls: thrice(n => `/${n}`) });
      const costs = (queries: number, http: number) =>
        Array.from({ length: 24 }, () => ({ queries: [queries, 0], http: [http, 0] }));
      const charged = (handler: string) =>
        result.records
          .filter(record => record.handler === handler)
          .map(({ queries, http }) => ({ queries, http }));
      expect(charged('AgentsController.queries')).toEqual(costs(3, 0));
      expect(charged('AgentsController.calls')).toEqual(costs(0, 3));
      expect(result.late).toEqual([]);
    },
    240_000,
  );
});
