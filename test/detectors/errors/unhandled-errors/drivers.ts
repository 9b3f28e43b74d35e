import { Redis } from 'ioredis';
import { Pool } from 'pg';
import { createClient } from 'redis';

/** Where the servers of the test are. */
export interface Servers {
  readonly postgres: string;
  readonly redis: string;
}

/** Clients with one connection, that the request which first asks for them opens. */
export class Drivers {
  readonly #pg: Pool;
  readonly #io: Redis;
  readonly #redis: ReturnType<typeof createClient>;

  constructor({ postgres, redis }: Servers) {
    this.#pg = new Pool({ connectionString: postgres, max: 1 });
    this.#io = new Redis(redis, { lazyConnect: true });
    this.#redis = createClient({ url: redis });
  }

  async open(): Promise<void> {
    await this.#pg.query('SELECT 1');
    await this.#io.ping();
    await this.#redis.connect();
  }

  /** Leaves a promise of a driver to itself, with no function between. */
  lose(driver: string): void {
    if (driver === 'pg') void this.#pg.query('SELECT wrong');
    if (driver === 'ioredis') void this.#io.call('WRONG');
    if (driver === 'redis') void this.#redis.sendCommand(['WRONG']);
  }
}
