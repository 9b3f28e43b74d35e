import 'reflect-metadata';
import { AsyncLocalStorage, executionAsyncResource } from 'node:async_hooks';
import { Test, type TestingModule } from '@nestjs/testing';
import { AsyncContextModule } from '../../lib/index';
import { processShare } from '../../lib/kernel/once-per-process';

/** What it prints. */
export interface Ticks {
  readonly kept: readonly string[];
  readonly isOfOneClass: boolean;
  /** Whether what the application started in is still there. */
  readonly holdsStore: boolean;
}

const haveSameClass = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (
  a: object,
  b: object,
) => boolean;

const freshTick = () =>
  new Promise<object>(resolve => process.nextTick(() => resolve(executionAsyncResource())));

/** As a serverless function starts its application: in its first request. */
async function startInRequest(): Promise<TestingModule> {
  return new AsyncLocalStorage<object>().run({ user: 'ada' }, async () => {
    const made = await Test.createTestingModule({ imports: [AsyncContextModule.forRoot()] }).compile();
    await made.init();
    return made;
  });
}

async function main(): Promise<void> {
  const module = await startInRequest();
  // At rest: no callback is in the queue when all is collected.
  for (let turn = 0; turn < 10; turn++) {
    await new Promise(resolve => setTimeout(resolve, 10));
    globalThis.gc!();
  }
  const { tick } = processShare.single.get('tick shape') as { tick: object };
  const values = Object.getOwnPropertySymbols(tick).map(name => (tick as Record<symbol, unknown>)[name]);
  const ticks: Ticks = {
    kept: Object.keys(tick),
    isOfOneClass: haveSameClass(tick, await freshTick()),
    holdsStore: values.some(value => typeof value === 'object'),
  };
  process.stdout.write(`${JSON.stringify(ticks)}\n`);
  await module.close();
}

void main();
