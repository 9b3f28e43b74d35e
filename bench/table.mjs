export const figure = (value, digits) => (value === undefined ? '' : value.toFixed(digits));
export const signed = (value, digits) =>
  value === undefined ? '' : `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(digits)}`;

/** A Markdown table: the first column to the left, figures to the right. */
export function table(header, rows) {
  const cells = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...cells.map(row => row[column].length)));
  const line = row =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(header), rule, ...rows.map(line)].join('\n');
}

export function requestTable(summary, labels) {
  return table(
    ['variant', 'CPU µs/request', 'added µs', '±', 'of nestjs-cls', 'requests/s', 'RSS MB'],
    summary.map(row => [
      labels[row.variant],
      figure(row.cpuMicros, 1),
      signed(row.addedMicros, 1),
      figure(row.addedSpread, 1),
      figure(row.ofCls, 2),
      figure(row.requestsPerSecond, 0),
      figure(row.rssMegabytes, 0),
    ]),
  );
}
