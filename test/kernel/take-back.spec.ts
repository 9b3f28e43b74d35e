import '@elastic/elasticsearch';
import '@aws-sdk/client-dynamodb';
import 'bullmq';
import 'ioredis';
import 'mariadb';
import 'mongodb';
import 'mssql';
import 'mysql2';
import 'pg';
import 'undici';
import net from 'node:net';
import { afterEach, expect, it, vi } from 'vitest';
import { takeBack } from '../../lib/kernel/take-back';
import { startApp } from '../support/platforms';

const REPLACED = Symbol.for('nestjs-async-context.replaced');
const { defineProperty } = Object;

afterEach(() => void vi.restoreAllMocks());

/** Of its own: a class inherits those of the one above. */
function namesOn(owner: object): Iterable<string> {
  const names = Object.getOwnPropertyDescriptor(owner, REPLACED)?.value as Map<string, unknown> | undefined;
  return names?.keys() ?? [];
}

it('takes all back, last first, and then throws the first error', () => {
  const taken: number[] = [];
  const one = (n: number) => () => {
    taken.push(n);
    if (n > 1) throw new Error(`${n}`);
  };
  expect(() => takeBack([one(1), one(2), one(3)])).toThrow('3');
  expect(taken).toEqual([3, 2, 1]);
});

it('a method that cannot be taken back keeps no other', async () => {
  const owners = new Set<object>();
  const spy = vi.spyOn(Object, 'defineProperty').mockImplementation((target: unknown, key, descriptor) => {
    if (key === REPLACED) owners.add(target as object);
    return defineProperty(target, key, descriptor);
  });
  const test = await startApp({ reportsPerMinute: 1_000_000 });
  const replaced = (): string[] =>
    [...owners].flatMap((owner, at) => [...namesOn(owner)].map(name => `${at} ${name}`));
  expect(replaced().length).toBeGreaterThan(50);
  expect(owners).toContain(net.Socket.prototype);

  const kept: string[] = [];
  let calls = 0;
  spy.mockImplementation((target: unknown, key, descriptor) => {
    const name = `${[...owners].indexOf(target as object)} ${String(key)}`;
    if (replaced().includes(name) && (calls += 1) % 2 === 0) {
      kept.push(name);
      throw new TypeError('Cannot redefine property');
    }
    return defineProperty(target, key, descriptor);
  });
  await test.close();
  spy.mockRestore();
  expect(kept.length).toBeGreaterThan(20);
  expect(replaced().toSorted()).toEqual(kept.toSorted());
  expect(test.logs.of('warn', 'AsyncContext').join('\n')).toContain('instrumentation pg');
});
