import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callSitesOf, captureStack } from '../../lib/cost/call-site';

const SOURCE = `
export class OrdersService {
  constructor(private readonly take: () => unknown) {}

  async loadItems(): Promise<unknown> {
    await Promise.resolve();
    return this.take(); // line 7
  }
}
`;

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
    writeFileSync(join(folder, 'node_modules/driver/index.js'), 'exports.query = take => take();');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const take = (): unknown => captureStack(take);

  it.each(['orders.service.js', 'inline.js'])('names the line of the source for %s', async path => {
    expect(callSitesOf(await new (service(path))(take).loadItems())).toEqual([
      'orders.service.ts:7 loadItems',
    ]);
  });

  it.each(['plain.js', 'broken.js'])(
    'names the line of the file where no map can be read: %s',
    async path => {
      const [site] = callSitesOf(await new (service(path))(take).loadItems());
      expect(site).toMatch(new RegExp(`^${path}:\\d+ loadItems$`));
    },
  );

  it('leaves out frames of packages and of Node', async () => {
    const { query } = load(join(folder, 'node_modules/driver/index.js')) as {
      query(take: () => unknown): unknown;
    };
    const below = (): unknown => query(take);
    const sites = callSitesOf(await new (service('orders.service.js'))(below).loadItems(), 10);
    expect(sites[0]).toMatch(/^call-site\.spec\.ts:\d+ below$/);
    expect(sites[1]).toBe('orders.service.ts:7 loadItems');
    expect(sites.join()).not.toContain('index.js');
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
