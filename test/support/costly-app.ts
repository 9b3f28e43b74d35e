import { Controller, Get, Headers } from '@nestjs/common';
import { Pool } from 'pg';
import { ContextService, QueryBudget } from 'nestjs-async-context';
import { databaseUrl } from './database';
import type { TestApp } from './platforms';

// Other threads of the process, such as its compilers, have their part of it, and 50 ms have to be left.
const SPIN_MS = 180;

/** A handler for each kind of trouble that a metric tells of. */
@Controller('costly')
export class CostlyController {
  readonly #pool = new Pool({ connectionString: databaseUrl() });
  readonly #narrow = new Pool({ connectionString: databaseUrl(), max: 1 });

  @Get('orders/:id')
  @QueryBudget({ queries: 5, perTable: { pg_class: 1 } })
  async orders(): Promise<number> {
    const { rows } = await this.#pool.query<{ oid: number }>('SELECT oid FROM pg_class LIMIT 6');
    for (const { oid } of rows) {
      await this.#pool.query('SELECT relname FROM pg_class WHERE oid = $1', [oid]);
    }
    return rows.length;
  }

  @Get('slow')
  async slow(): Promise<void> {
    await this.#pool.query('SELECT pg_sleep(0.3)');
  }

  @Get('waits')
  async waits(): Promise<void> {
    const wait = (): Promise<unknown> => this.#narrow.query('SELECT pg_sleep(0.3)');
    await Promise.all([wait(), wait(), wait()]);
  }

  @Get('blocks')
  blocks(): number {
    // Of the processor: what a busy machine gives to others is nobody's fault.
    const before = process.cpuUsage();
    let used = before;
    do {
      used = process.cpuUsage(before);
    } while (used.user + used.system < SPIN_MS * 1_000);
    return used.user;
  }

  @Get('fails')
  async fails(): Promise<void> {
    await this.#pool.query('SELECT nothing_of_the_kind');
  }

  @Get('late')
  late(): void {
    setTimeout(() => void this.#pool.query('SELECT 1'), 5);
  }

  @Get('forgets')
  forgets(): void {
    void Promise.reject(new Error('nobody awaits this'));
  }

  @Get('calls')
  async calls(@Headers('host') host: string): Promise<string> {
    return (await fetch(`http://${host}/costly/blocks`)).text();
  }

  /** What no unit of work asks for. */
  loses(): Promise<unknown> {
    return this.#pool.query('SELECT 1');
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all([this.#pool.end(), this.#narrow.end()]);
  }
}

/** Each kind of trouble once, and a request that nothing answers. */
export async function makeTrouble({ app, url }: TestApp): Promise<void> {
  const theirs = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', () => undefined);
  try {
    for (const path of [
      'orders/1',
      'orders/2',
      'slow',
      'waits',
      'blocks',
      'fails',
      'late',
      'forgets',
      'calls',
    ]) {
      await (await fetch(`${url}/costly/${path}`)).text();
    }
    await (await fetch(`${url}/nobody/knows/${Math.random()}`)).text();
    await app.get(CostlyController).loses();
    await app.get(ContextService).run({ handler: 'NightlyReport.run' }, () => undefined);
  } finally {
    process.removeAllListeners('unhandledRejection');
    for (const listener of theirs) process.on('unhandledRejection', listener);
  }
}
