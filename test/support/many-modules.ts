// Run by a test, with --expose-gc: prints what each of 500 testing modules leaves in memory.
import { Injectable } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { AsyncContextModule, ContextService } from '../../lib/index';

export interface Settings {
  readonly end: 'compiled' | 'closed';
  /** Packages that the process has loaded. */
  readonly drivers: readonly string[];
}

export interface Kept {
  readonly bytes: number;
  /** Containers that something still holds. */
  readonly containers: number;
}

/** So many that what is loaded and compiled once weighs little. */
const MODULES = 500;
const WARM_UP = 50;

@Injectable()
class OrdersService {
  constructor(readonly context: ContextService) {}
}

const { end, drivers } = JSON.parse(process.argv[2]!) as Settings;
for (const driver of drivers) require(driver);
const containers: WeakRef<object>[] = [];

/** The spec that `nest generate` writes, and one that closes what it has made. */
async function makeModule(): Promise<void> {
  const module = await Test.createTestingModule({
    imports: [AsyncContextModule.forRoot()],
    providers: [OrdersService],
  })
    .setLogger({ log: ignore, warn: ignore, error: ignore })
    .compile();
  containers.push(new WeakRef(module.get(ModulesContainer)));
  if (end === 'compiled') return;
  await module.init();
  await module.close();
}

function ignore(): void {}

async function makeModules(count: number): Promise<number> {
  for (let i = 0; i < count; i++) await makeModule();
  // What is registered to be told of a collection is told in a later turn, and frees more.
  for (let turn = 0; turn < 10; turn++) {
    globalThis.gc!();
    await new Promise(resolve => setTimeout(resolve, 10));
  }
  return process.memoryUsage().heapUsed;
}

async function main(): Promise<void> {
  const before = await makeModules(WARM_UP);
  const after = await makeModules(MODULES);
  const held = containers.filter(one => one.deref() !== undefined).length;
  const kept: Kept = { bytes: (after - before) / MODULES, containers: held };
  process.stdout.write(`${JSON.stringify(kept)}\n`);
}

void main();
