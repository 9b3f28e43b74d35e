import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Programs } from '../support/child';

const SOURCE = `
interface Order {
  readonly email: string;
}

/** The types above move the lines of what is compiled. */
export function audit(order: Order | undefined): string {
  return order!.email; // line 8
}
`;

/** Loads the orders, and prints what is said of the error in them. */
const PROGRAM = `
const { readFileSync } = require('node:fs');
const [, , outline, orders, compiled] = process.argv;
if (compiled) require.extensions['.ts'] = (module, file) => module._compile(readFileSync(compiled, 'utf8'), file);
const { outlineOf } = require(outline);
try {
  require(orders).audit();
} catch (error) {
  console.log(outlineOf(error).place);
}
`;

const stripsTypes = (process.features as { typescript?: unknown }).typescript === 'strip';

describe('the line of an error in a process of its own', () => {
  const folder = mkdtempSync(join(tmpdir(), 'error-outline-'));
  let programs: Programs;
  beforeAll(() => {
    programs = new Programs();
    const { outputText, sourceMapText } = ts.transpileModule(SOURCE, {
      compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022, sourceMap: true },
      fileName: 'orders.ts',
    });
    const code = outputText.replace(/\/\/# sourceMappingURL.*/, '');
    const map = Buffer.from(sourceMapText!).toString('base64');
    writeFileSync(join(folder, 'orders.ts'), SOURCE);
    writeFileSync(join(folder, 'orders.js'), outputText);
    writeFileSync(join(folder, 'orders.js.map'), sourceMapText!);
    writeFileSync(join(folder, 'in-memory'), code);
    writeFileSync(
      join(folder, 'in-memory-with-map'),
      `${code}//# sourceMappingURL=data:application/json;base64,${map}`,
    );
    writeFileSync(join(folder, 'program.js'), PROGRAM);
  });
  afterAll(() => {
    programs.remove();
    rmSync(folder, { recursive: true });
  });

  const placeOf = (nodeArgs: string[], orders: string, compiled?: string): string => {
    const outline = join(programs.folder, 'lib/kernel/error-outline.js');
    const args = [join(folder, 'program.js'), outline, join(folder, orders)];
    if (compiled !== undefined) args.push(join(folder, compiled));
    return execFileSync(process.execPath, [...nodeArgs, ...args], { encoding: 'utf8' }).trim();
  };

  it.each([[[]], [['--enable-source-maps']]])('is that of the source, with %j', nodeArgs => {
    expect(placeOf(nodeArgs, 'orders.js')).toBe('orders.ts:8 audit');
  });

  it('is that of the source where it was compiled in memory, and Node knows its map', () => {
    expect(placeOf(['--enable-source-maps'], 'orders.ts', 'in-memory-with-map')).toBe('orders.ts:8 audit');
  });

  // Where Node strips types itself, it is not told apart from what a runner has compiled.
  it.skipIf(stripsTypes).each([[[]], [['--enable-source-maps']]])(
    'is left out where nobody knows a map of what was compiled in memory, with %j',
    nodeArgs => {
      expect(placeOf(nodeArgs, 'orders.ts', 'in-memory')).toBe('orders.ts audit');
    },
  );
});
