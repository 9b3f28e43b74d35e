import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Words that ARCHITECTURE's glossary has replaced, by what stands for them now. */
const RETIRED_NAMES: Readonly<Record<string, RegExp>> = {
  'stack boundary': /\b[bB]elow: \(?\.\.\.|\bbelow\?: /,
  redirect: /\bcurrentAside\b|\brunAside\b/,
  signer: /\bCarrierSeal\b/,
  'hook error': /\bFaultReporter\b|#faults\b/,
  'limit hook': /\bCostAlarm\b|\b\w+Alarm\(/,
  'acquisition, lease': /\bbeginCheckout\b|\bCheckoutHandle\b|\bHoldingState\b|\bholdingOf\b/,
  'unhandled error': /\blostErrors?\b|\bLostErrors?\b|\blost_errors\b/i,
  'provider calls': /forRoot\(\{ trace:|\bcost\??\.trace\(\)/,
};

/** Phrases of log lines and pages that readers had to read twice. */
const RETIRED_PHRASES: Readonly<Record<string, RegExp>> = {
  'not attributed to any request': /charged to nobody/i,
  'cause unknown': /by what is not known/i,
  'still issuing queries after the response': /goes on working/i,
  'hosts that receive trace headers': /told the trace/i,
  'idle connections': /resting connections?/i,
  'unhandled errors': /\blost errors?\b/i,
  suppressed: /(?:were|was|is|are) held back/i,
};

function filesIn(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith(ending))
    .map(path => join(folder, path));
}

/** The lines of files that a pattern is found in. */
function found(files: readonly string[], pattern: RegExp): string[] {
  return files.flatMap(path =>
    readFileSync(join(root, path), 'utf8')
      .split('\n')
      .flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1} ${line.trim()}`] : [])),
  );
}

const sources = filesIn('lib', '.ts');
// The changelog says what things were called.
const pages = [
  ...filesIn('docs', '.md'),
  'README.md',
  'ARCHITECTURE.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'sample-app/README.md',
];

describe('words that were replaced', () => {
  it.each(Object.entries(RETIRED_NAMES))('%s: no old name is left', (_now, before) => {
    expect(found([...sources, ...pages], before)).toEqual([]);
  });

  it.each(Object.entries(RETIRED_PHRASES))('%s: no page says it the old way', (_now, before) => {
    expect(found(pages, before)).toEqual([]);
  });
});
