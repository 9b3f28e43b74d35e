import { mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runInThisContext } from 'node:vm';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callSitesOf, captureStack, framesOf } from '../../lib/kernel/call-site';

const SOURCE = `
export class OrdersService {
  constructor(private readonly take: () => unknown) {}

  async loadItems(): Promise<unknown> {
    await Promise.resolve();
    return this.take(); // line 7
  }
}
`;

/**
 * What terser makes of `for (const id of await list()) { await load(id); }` in four lines: the second `await` has no
 * position of its own in the map.
 */
const MINIFIED = 'exports.loop=async(o,a)=>{for(const t of await o())await a(t)};';
const MINIFIED_MAP = {
  version: 3,
  names: ['exports', 'loop', 'async', 'list', 'load', 'id'],
  sources: ['loop.ts'],
  mappings: 'AAAAA,QAAQC,KAAOC,MAAOC,EAAMC,KAC1B,IAAK,MAAMC,WAAYF,UACfC,EAAKC',
};

/** The mappings of a text in which each line is its own. */
const linesOf = (text: string): string =>
  text
    .split('\n')
    .map((_, i) => (i === 0 ? 'AAAA' : 'AACA'))
    .join(';');

const ownLines = readFileSync(__filename, 'utf8').split('\n');
const lineOf = (text: string): number =>
  ownLines.findIndex(line => line.endsWith(text) || line.includes(`${text} //`)) + 1;
/** The frames of a stack that are those of packages: this file calls them, and is of the application. */
const onlyPackages = (raw: ReturnType<typeof captureStack>): readonly NodeJS.CallSite[] =>
  framesOf(raw).filter(frame => frame.getFileName()?.includes('node_modules'));

describe('callSitesOf()', () => {
  const folder = mkdtempSync(join(tmpdir(), 'call-site-'));
  const load = createRequire(import.meta.url);
  type Service = new (take: () => unknown) => { loadItems(): Promise<ReturnType<typeof captureStack>> };
  const service = (path: string) => (load(join(folder, path)) as { OrdersService: Service }).OrdersService;

  beforeAll(() => {
    const options = {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2022,
      sourceMap: true,
      removeComments: true,
    };
    const { outputText, sourceMapText } = ts.transpileModule(SOURCE, {
      compilerOptions: options,
      fileName: 'orders.service.ts',
    });
    mkdirSync(join(folder, 'node_modules/driver'), { recursive: true });
    writeFileSync(join(folder, 'orders.service.js'), outputText);
    writeFileSync(join(folder, 'orders.service.js.map'), sourceMapText!);
    const code = outputText.replace(/\/\/# sourceMappingURL.*/, '');
    writeFileSync(join(folder, 'plain.js'), code);
    writeFileSync(join(folder, 'broken.js'), `${code}//# sourceMappingURL=broken.js.map`);
    writeFileSync(join(folder, 'broken.js.map'), '{"version":3,');
    const inline = Buffer.from(sourceMapText!).toString('base64');
    writeFileSync(
      join(folder, 'inline.js'),
      `${code}//# sourceMappingURL=data:application/json;base64,${inline}`,
    );
    const cheap = { version: 3, sources: ['orders.service.ts'], names: [], mappings: linesOf(code) };
    writeFileSync(join(folder, 'cheap.js'), `${code}//# sourceMappingURL=cheap.js.map`);
    writeFileSync(join(folder, 'cheap.js.map'), JSON.stringify({ ...cheap, sourcesContent: [code] }));
    writeFileSync(join(folder, 'loop.js'), `${MINIFIED}\n//# sourceMappingURL=loop.js.map`);
    writeFileSync(join(folder, 'loop.js.map'), JSON.stringify(MINIFIED_MAP));
    writeFileSync(join(folder, 'node_modules/driver/index.js'), 'exports.query = take => take();');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const take = (): unknown => captureStack(take);

  it.each(['orders.service.js', 'inline.js'])('names the line of the source for %s', async path => {
    expect(callSitesOf(await new (service(path))(take).loadItems())).toEqual([
      'orders.service.ts:7 loadItems',
    ]);
  });

  it('names the line of what is awaited in minified code', async () => {
    type Loop = (list: () => Promise<number[]>, load: () => Promise<void>) => Promise<void>;
    const { loop } = load(join(folder, 'loop.js')) as { loop: Loop };
    const stacks: ReturnType<typeof captureStack>[] = [];
    const later = async (): Promise<number[]> => {
      await Promise.resolve();
      stacks.push(captureStack(later));
      return [1];
    };
    await loop(later, async () => void (await later()));
    const lines = stacks.map(stack => callSitesOf(stack, 2).find(site => site.startsWith('loop.ts')));
    expect(lines.map(line => line?.replace(/ .*/, ''))).toEqual(['loop.ts:2', 'loop.ts:3']);
  });

  // The last has the lines of what a loader has compiled under the name of the source.
  it.each(['plain.js', 'broken.js', 'cheap.js'])(
    'names the line of the file where no map leads to the source: %s',
    async path => {
      const [site] = callSitesOf(await new (service(path))(take).loadItems());
      expect(site).toMatch(new RegExp(`^${path}:\\d+ loadItems$`));
    },
  );

  it('leaves out frames of packages and of Node', async () => {
    const { query } = load(join(folder, 'node_modules/driver/index.js')) as {
      query(take: () => unknown): unknown;
    };
    const stackBoundary = (): unknown => query(take);
    const sites = callSitesOf(await new (service('orders.service.js'))(stackBoundary).loadItems(), 10);
    expect(sites[0]).toBe(`call-site.spec.ts:${lineOf('query(take);')} stackBoundary`);
    expect(sites[1]).toBe('orders.service.ts:7 loadItems');
    expect(sites.join()).not.toContain('index.js');
  });

  it('names the line of a file that is compiled in memory, as here, or none', async () => {
    const stackBoundary = (): unknown => take(); // this line
    expect(callSitesOf(stackBoundary() as ReturnType<typeof captureStack>)).toEqual([
      `call-site.spec.ts:${lineOf('// this line')} stackBoundary`,
    ]);
    const compiled = runInThisContext(
      '(function compiled(take) {\n  return take();\n})',
      '/app/src/shop.ts',
    ) as (take: () => unknown) => ReturnType<typeof captureStack>;
    expect(callSitesOf(compiled(take), 1)).toEqual(['shop.ts compiled']);
  });

  it('leaves out what is in no file', async () => {
    const text = '(function inText(take) { return take(); })';
    const data = (await import(`data:text/javascript,export default ${encodeURIComponent(text)}`)) as {
      default: (take: () => unknown) => unknown;
    };
    const places: ((take: () => unknown) => unknown)[] = [
      runInThisContext(text) as (take: () => unknown) => unknown,
      runInThisContext(text, '[eval]') as (take: () => unknown) => unknown,
      runInThisContext(text, '[eval]-wrapper') as (take: () => unknown) => unknown,
      runInThisContext(text, 'wasm://wasm/00e07876') as (take: () => unknown) => unknown,
      data.default,
    ];
    for (const place of places) {
      const stackBoundary = (): unknown => place(take);
      const sites = callSitesOf(stackBoundary() as ReturnType<typeof captureStack>, 2);
      expect(sites[0]).toBe(`call-site.spec.ts:${lineOf('place(take);')} stackBoundary`);
    }
  });

  it('names the nearest package that is no driver, ORM or framework where all are packages', () => {
    const nest = (name: string): string => join(folder, 'node_modules', name);
    const call = (...files: string[]): string[] => {
      const chain = files.map(
        file =>
          runInThisContext('(function load(next) {\n  return next();\n})', nest(file)) as (
            next: () => unknown,
          ) => unknown,
      );
      const raw = chain.reduce<() => unknown>((next, fn) => () => fn(next), take)();
      return callSitesOf({ stack: onlyPackages(raw as ReturnType<typeof captureStack>) });
    };
    expect(call('typeorm/a.js', '@vendure/core/dist/service/stock-level.service.js', 'lodash/b.js')).toEqual([
      '@vendure/core/…/stock-level.service.js:2 load',
    ]);
    expect(call('.prisma/client/a.js', '@nestjs/core/b.js', '@prisma/client/c.js', 'pg/d.js')).toEqual([]);
    // A handler that runs in the callback of a middleware, of an application that no file is known of.
    expect(call('pg/a.js', '@nestjs/core/b.js', 'express/c.js', 'body-parser/lib/read.js')).toEqual([]);
  });

  it('leaves the settings of the application as they are', async () => {
    const limit = Error.stackTraceLimit;
    const prepare = Error.prepareStackTrace;
    Error.stackTraceLimit = 1;
    const own = (): string => 'own';
    Error.prepareStackTrace = own;
    try {
      const raw = await new (service('orders.service.js'))(take).loadItems();
      expect(callSitesOf(raw)).toEqual(['orders.service.ts:7 loadItems']);
      expect([Error.stackTraceLimit, Error.prepareStackTrace]).toEqual([1, own]);
    } finally {
      Error.stackTraceLimit = limit;
      Error.prepareStackTrace = prepare!;
    }
  });
});
