import type { HandlerStatistics } from './statistics.sink';

const COLUMNS = [
  'handler',
  'requests',
  'queries p50',
  'p99',
  'rows',
  'database ms',
  'http',
  'n+1',
  'breaches',
  'slow',
  'refused',
];

/** The handlers as a table of text. */
export function tableOf(handlers: readonly HandlerStatistics[]): string {
  const lines = [COLUMNS, ...handlers.map(cellsOf)];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map(line => (line[column] ?? '').length)));
  return lines
    .map(line =>
      line
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  '),
    )
    .join('\n');
}

function cellsOf({
  handler,
  queries,
  rows,
  databaseMs,
  calls,
  nPlusOne,
  breaches,
  slow,
  refused,
}: HandlerStatistics): string[] {
  const sorted = queries.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
  const figures = [
    queries.length,
    at(0.5),
    at(0.99),
    rows,
    Math.round(databaseMs),
    calls,
    nPlusOne,
    breaches,
    slow,
    refused,
  ];
  return [handler, ...figures.map(figure => figure.toLocaleString('en-US'))];
}
