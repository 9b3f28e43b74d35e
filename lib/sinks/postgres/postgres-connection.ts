import { runUncharged } from '../../context/charge-redirect';
import { settled } from '../../kernel/thenable';
import { OwnError } from '../../kernel/own-error';
import { CopyQuery, type PostgresError, type PostgresPool, type PostgresSession } from './postgres-client';

/** How long the server has for its own timeout to reach us. */
const GRACE_MS = 2_000;

interface OwnClient extends PostgresSession {
  connect(): Promise<unknown>;
  end(): Promise<void>;
  unref(): void;
  readonly connection?: { readonly stream?: { destroy(): unknown } };
}

/** What a connection is made with. */
export interface PostgresConnecting {
  readonly connection: object;
  readonly pool: PostgresPool | undefined;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  /** Whether the server is told of the timeout, in front of each statement. */
  readonly setsTimeout: boolean;
}

/**
 * One session. No statement of it is counted for anybody, and none takes longer than it may.
 *
 * It keeps no process alive.
 */
export class PostgresConnection {
  /** Whether it may be used for another statement. */
  isUsable = true;
  readonly #client: PostgresSession;
  readonly #end: (isBroken: boolean) => void;
  readonly #timeoutMs: number;
  readonly #prefix: string;
  #running = 0;
  readonly #onError = (): void => {
    this.isUsable = false;
  };

  private constructor(
    client: PostgresSession,
    { statementTimeoutMs, setsTimeout }: PostgresConnecting,
    end: (isBroken: boolean) => void,
  ) {
    this.#client = client;
    this.#end = end;
    this.#timeoutMs = statementTimeoutMs;
    this.#prefix = setsTimeout ? `SET LOCAL statement_timeout = ${statementTimeoutMs}; ` : '';
    // Without a listener the end of the server would end the process; a pool has none while it is lent.
    client.on('error', this.#onError);
  }

  /** @throws the error of the driver, or that it took too long */
  static open(connecting: PostgresConnecting): Promise<PostgresConnection> {
    const { pool } = connecting;
    return pool === undefined ? openOwn(connecting) : takeFrom(pool, connecting);
  }

  /** One that `end` is called for when it is not needed any more. */
  static of(
    client: PostgresSession,
    connecting: PostgresConnecting,
    end: (isBroken: boolean) => void,
  ): PostgresConnection {
    return new PostgresConnection(client, connecting, end);
  }

  /** Runs statements without parameters, and gives the rows of the last one. */
  async run(text: string): Promise<readonly unknown[]> {
    const answer = runUncharged(() => this.#client.query(this.#prefix + text));
    const results = await this.#guard(answer);
    return ('rows' in results ? results : results.at(-1))?.rows ?? [];
  }

  /** Copies rows; `before` is in the same transaction. */
  copy(before: string, copy: string, rows: Buffer): Promise<void> {
    const copied = new Promise<void>((resolve, reject) => {
      const query = new CopyQuery(this.#prefix + before + copy, rows, error => {
        if (error === undefined) resolve();
        else reject(error as Error);
      });
      runUncharged(() => this.#client.query(query));
    });
    return this.#guard(copied);
  }

  /** Gives it back, or ends it, and does not wait for that. Never throws. */
  close(): void {
    // A pool must not lend one whose statement is still under way.
    const isBroken = !this.isUsable || this.#running > 0;
    this.isUsable = false;
    try {
      this.#client.off('error', this.#onError);
      // What it has to say from now on is nothing to end a process for.
      if (isBroken) this.#client.on('error', () => undefined);
      this.#end(isBroken);
    } catch {
      // A pool that refuses it back: what was written is written.
    }
  }

  async #guard<T>(work: Promise<T>): Promise<T> {
    this.#running += 1;
    try {
      return await within(this.#timeoutMs + GRACE_MS, work, 'a statement');
    } catch (error) {
      // What a server says of a statement leaves the session as it was; all else ends it.
      if (!isRefusal(error)) this.isUsable = false;
      throw error;
    } finally {
      this.#running -= 1;
    }
  }
}

/** Shutdowns and failures of the server, which end the session: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const ENDS_SESSION = /^(?:08|57P|58|XX|25P03|25P04)/;

/**
 * Whether the server has refused a statement, and so has done nothing of it. By its SQLSTATE: the
 * severity is a word of the language of the server, and errors of sockets have codes as well.
 */
export function isRefusal(error: unknown): boolean {
  const { code = '', severity } = (error ?? {}) as PostgresError;
  return severity !== undefined && /^[0-9A-Z]{5}$/.test(code) && !ENDS_SESSION.test(code);
}

async function openOwn(connecting: PostgresConnecting): Promise<PostgresConnection> {
  const client = newClient(connecting);
  const connection = PostgresConnection.of(client, connecting, isBroken => {
    client.on('error', () => undefined);
    client.end().catch(() => undefined);
    // A farewell would wait for a server that does not answer.
    if (isBroken) client.connection?.stream?.destroy();
  });
  try {
    const connected = client.connect();
    client.unref();
    await within(connecting.connectTimeoutMs, connected, 'opening a connection');
    // With TLS it has another socket by now.
    client.unref();
    return connection;
  } catch (error) {
    connection.isUsable = false;
    connection.close();
    throw error;
  }
}

async function takeFrom(pool: PostgresPool, connecting: PostgresConnecting): Promise<PostgresConnection> {
  const taken = settled(pool.connect());
  try {
    const client = await within(connecting.connectTimeoutMs, taken, 'waiting for a connection of the pool');
    return PostgresConnection.of(client, connecting, isBroken => client.release(isBroken));
  } catch (error) {
    taken.then(late => late.release()).catch(() => undefined);
    throw error;
  }
}

function newClient({ connection, connectTimeoutMs }: PostgresConnecting): OwnClient {
  const { Client } = require('pg') as { Client: new (config: object) => OwnClient };
  return new Client({
    application_name: 'nestjs-async-context',
    keepAlive: true,
    connectionTimeoutMillis: connectTimeoutMs,
    ...connection,
  });
}

async function within<T>(ms: number, work: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new OwnError(`${what} took longer than ${ms} ms`)), ms).unref();
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
    // It may be refused later, when nobody listens any more.
    work.catch(() => undefined);
  }
}
