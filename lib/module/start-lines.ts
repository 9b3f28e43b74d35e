import { createRequire } from 'node:module';
import type { BudgetDefaults } from '../budget/budget';
import { number } from '../reporting/report-text';

/** What the first lines of an application tell. */
export interface StartFacts {
  /** Names of the clients whose calls are counted. */
  readonly counted: readonly string[];
  readonly uncovered: readonly string[];
  readonly budget: BudgetDefaults;
  readonly sinks: readonly string[];
}

/** What an application tells when it starts to serve: what is counted, and what is loaded but not counted. */
export function startLines({ counted, uncovered, budget, sinks }: StartFacts): string[] {
  const parts = [
    counted.length === 0 ? 'counts nothing' : `counts ${counted.join(', ')}`,
    `default budget: ${budgetOf(budget)}`,
    `records: ${sinks.length === 0 ? 'not kept (no sinks)' : sinks.join(', ')}`,
  ];
  const lines = [
    `nestjs-async-context ${ownVersion()}${parts.join('; ')}. To log less: reportsPerMinute, findings, slowAfterMs`,
  ];
  if (uncovered.length > 0)
    lines.push(`Not counted: ${uncovered.join(', ')}. contextService.record() counts a query by hand`);
  return lines;
}

function budgetOf({ default: general, byMethod }: BudgetDefaults): string {
  const limits = Object.entries(general ?? {}).filter(([, limit]) => typeof limit === 'number');
  const words = limits.map(([dimension, limit]) => `${number(limit as number)} ${dimension}`);
  if (general?.hard !== undefined) words.push('hard limits');
  if (byMethod !== undefined) words.push(`its own for ${Object.keys(byMethod).join(', ')}`);
  return words.join(', ') || 'none';
}

/** `0.1.0 `; empty in a bundle, which has no package.json of ours. */
function ownVersion(): string {
  try {
    const load = createRequire(__filename);
    const { name, version } = load('../../package.json') as { name?: string; version?: string };
    // In a bundle it is the application's.
    return name === 'nestjs-async-context' && version !== undefined ? `${version} ` : '';
  } catch {
    return '';
  }
}
