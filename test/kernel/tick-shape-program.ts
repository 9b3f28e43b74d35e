import 'reflect-metadata';
import { executionAsyncResource } from 'node:async_hooks';
import { Test } from '@nestjs/testing';
import { AsyncContextModule } from '../../lib/index';
import { processShare } from '../../lib/kernel/once-per-process';

/** What it prints. */
export interface Ticks {
  readonly kept: readonly string[];
  readonly isOfOneClass: boolean;
}

const haveSameClass = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (
  a: object,
  b: object,
) => boolean;

const freshTick = () =>
  new Promise<object>(resolve => process.nextTick(() => resolve(executionAsyncResource())));

async function main(): Promise<void> {
  const module = await Test.createTestingModule({ imports: [AsyncContextModule.forRoot()] }).compile();
  await module.init();
  // At rest: no callback is in the queue when all is collected.
  for (let turn = 0; turn < 10; turn++) {
    await new Promise(resolve => setTimeout(resolve, 10));
    globalThis.gc!();
  }
  const { tick } = processShare.single.get('tick shape') as { tick: object };
  const ticks: Ticks = { kept: Object.keys(tick), isOfOneClass: haveSameClass(tick, await freshTick()) };
  process.stdout.write(`${JSON.stringify(ticks)}\n`);
  await module.close();
}

void main();
