/** The part of a connected `pg` `Client` that is used. */
export interface PostgresClient {
  query(text: string): Promise<PostgresResult | readonly PostgresResult[]>;
}

/** What is asked of one that rows are copied with. */
export interface PostgresSession extends PostgresClient {
  query(text: string): Promise<PostgresResult | readonly PostgresResult[]>;
  query(submittable: PostgresSubmittable): unknown;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  off(event: 'error', listener: (error: unknown) => void): unknown;
}

/** What a statement gave. */
export interface PostgresResult {
  readonly rows: readonly unknown[];
}

/** The part of a `pg` `Pool` that is used. */
export interface PostgresPool {
  connect(): Promise<PostgresSession & { release(isBroken?: boolean): void }>;
  /** Distinguishes a pool from a client. */
  readonly idleCount: number;
}

/** A query object of its own: https://node-postgres.com/apis/client#clientquery */
export interface PostgresSubmittable {
  submit(connection: PostgresWire): unknown;
}

/** What is asked of the protocol of `pg`. */
export interface PostgresWire {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

/** What a server says about a statement that it refuses, or about its own end. */
export interface PostgresError {
  /** https://www.postgresql.org/docs/current/errcodes-appendix.html */
  readonly code?: string;
  readonly severity?: string;
}

/**
 * `COPY … FROM STDIN` of what is in memory already: a hundred lines of stream less than `pg-copy-streams`.
 *
 * Statements may stand before the `COPY`; they are one transaction with it, in one message.
 */
export class CopyQuery implements PostgresSubmittable {
  readonly text: string;
  readonly #rows: Buffer;
  readonly #settle: (error?: unknown) => void;

  constructor(text: string, rows: Buffer, settle: (error?: unknown) => void) {
    this.text = text;
    this.#rows = rows;
    this.#settle = settle;
  }

  submit(connection: PostgresWire): void {
    connection.query(this.text);
  }

  handleCopyInResponse(connection: PostgresWire): void {
    connection.sendCopyFromChunk(this.#rows);
    connection.endCopyFrom();
  }

  handleRowDescription(): void {
    // Of a statement before the COPY.
  }

  handleDataRow(): void {
    // Of a statement before the COPY.
  }

  handleCommandComplete(): void {
    // Nothing is there before the whole message has ended.
  }

  handleReadyForQuery(): void {
    this.#settle();
  }

  handleError(error: unknown): void {
    this.#settle(error);
  }
}
