import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DriverInstrumentation, QueryReporter } from 'nestjs-async-context';
import { startApp, type TestApp } from '../support/platforms';
import { recordOfUnit } from '../support/units';

describe('what an instrumentation of one’s own reports', () => {
  let test: TestApp;
  let reporter: QueryReporter;

  beforeAll(async () => {
    const ledger: DriverInstrumentation = {
      name: 'ledger',
      install(given) {
        reporter = given;
        return () => undefined;
      },
    };
    test = await startApp({ instrumentations: [ledger] });
  });
  afterAll(() => test.close());

  const stackBoundary = (): void => undefined;
  const operation = { shape: 'find ?', table: 'ledger', operation: 'find', kind: 'read' } as const;

  it.each<[string, () => unknown, number | undefined]>([
    [
      'a text without values',
      () => reporter.begin('SELECT * FROM ledger', 'generic', stackBoundary)?.end(1),
      2,
    ],
    [
      'the same values',
      () => reporter.begin('SELECT * FROM ledger WHERE id = ?', 'generic', stackBoundary, [1])?.end(1),
      2,
    ],
    [
      'values that are not given',
      () => reporter.begin('SELECT * FROM ledger WHERE id = ?', 'generic', stackBoundary)?.end(1),
      undefined,
    ],
    ['an operation with its values', () => reporter.beginOperation(operation, stackBoundary, [1])?.end(1), 2],
    ['an operation without', () => reporter.beginOperation(operation, stackBoundary)?.end(1), undefined],
  ])('is a duplicate only where its values are known: %s', async (_what, report, duplicates) => {
    const record = await recordOfUnit(test, () => {
      for (let i = 0; i < 3; i++) report();
    });
    expect(record.queries.count).toBe(3);
    expect(record.findings?.find(({ kind }) => kind === 'duplicate')?.duplicates).toBe(duplicates);
  });
});
