import '@elastic/elasticsearch';
import '@aws-sdk/client-dynamodb';
import '@electric-sql/pglite';
import 'amqplib';
import 'better-sqlite3';
import 'bullmq';
import 'dataloader';
import 'ioredis';
import 'kafkajs';
import 'mariadb';
import 'mongodb';
import 'mssql';
import 'mysql2';
import 'nats';
import 'pg';
import 'postgres';
import 'redis';
import 'tarn';
import 'undici';
import { afterEach, expect, it, vi } from 'vitest';
import { startApp } from '../support/platforms';

const REPLACED = Symbol.for('nestjs-async-context.replaced');

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Owner = Record<string, Method> & { readonly constructor: { readonly name: string } };

afterEach(() => void vi.restoreAllMocks());

/** The classes that have methods replaced while `start` runs. */
async function classesReplacedBy<T>(start: () => Promise<T>): Promise<[T, Owner[]]> {
  const owners = new Set<Owner>();
  const { defineProperty } = Object;
  vi.spyOn(Object, 'defineProperty').mockImplementation((target: unknown, key, descriptor) => {
    const { constructor } = target as Owner;
    if (key === REPLACED && typeof constructor === 'function' && constructor.prototype === target) {
      owners.add(target as Owner);
    }
    return defineProperty(target, key, descriptor);
  });
  const started = await start();
  vi.restoreAllMocks();
  return [started, [...owners]];
}

/** What comes of a method that has lost its object: `const { query } = pool; query('SELECT 1')`. */
async function outcomeOf(method: Method, args: unknown[]): Promise<string> {
  let result: unknown;
  try {
    result = method(...args);
  } catch (error) {
    return `throws ${String(error)}`;
  }
  return Promise.resolve(result).then(
    value => typeof value,
    error => `rejects ${String(error)}`,
  );
}

/** Called by nobody but their own package, on an object. */
const INTERNAL: Readonly<Record<string, RegExp>> = {
  '@nestjs/microservices': /^Client(Kafka|RMQ|Nats|Mqtt|Redis|GrpcProxy|TCP)#/,
  bullmq: /^Worker#callProcessJob$/,
  elasticsearch: /^MiddlewareEngine#/,
  ioredis: /^Pipeline#sendCommand$/,
  mariadb: /^(Connection#(query|executePromise|prepareExecute|batch|addCommand.*)|Pool#getConnection)$/,
  mongodb: /^(Connection#command|ConnectionPool#check(Out|In))$/,
  pg: /^Pool#newClient$/,
  tedious: /^Connection#makeRequest$/,
  undici: /^Request#on/,
  'all of these': /#_/,
};
const ARGUMENTS: unknown[][] = [
  [],
  ['SELECT 1'],
  ['SELECT 1', (): void => undefined],
  [(): void => undefined],
];

it('a method that has lost its object fails as that of the bare driver', async () => {
  const [test, owners] = await classesReplacedBy(() => startApp({}));
  const methods = owners.flatMap(owner => {
    const names = [...(owner as unknown as { [REPLACED]: Map<string, unknown> })[REPLACED].keys()];
    return names.flatMap(name => {
      const fullName = `${owner.constructor.name}#${name}`;
      const isInternal = Object.values(INTERNAL).some(pattern => pattern.test(fullName));
      return isInternal ? [] : [[owner, name, fullName, owner[name]!] as const];
    });
  });
  expect(methods.map(([, , fullName]) => fullName)).toEqual(
    expect.arrayContaining(['Client#query', 'Pool#query', 'Pool#connect', 'Queue#add', 'Pipeline#exec']),
  );
  const outcomes = async (pick: (owner: Owner, name: string, ours: Method) => Method) => {
    const lines: string[] = [];
    for (const [owner, name, fullName, ours] of methods) {
      for (const args of ARGUMENTS) {
        const outcome = await outcomeOf(pick(owner, name, ours), args);
        lines.push(`${fullName}(${args.map(arg => typeof arg)}): ${outcome}`);
      }
    }
    return lines;
  };
  const counted = await outcomes((_, __, ours) => ours);
  await test.close();
  expect(counted).toEqual(await outcomes((owner, name) => owner[name]!));
});
