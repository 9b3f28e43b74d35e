/** A request of `undici`, as its diagnostics channels show it; `addHeader` is missing in 6.11 alone. */
export interface UndiciRequest {
  readonly origin: string | URL | undefined;
  readonly path: string;
  readonly method: string;
  /** Names and values in turn, or, up to undici 5, the lines. */
  headers: unknown[] | string;
  addHeader?(name: string, value: string): unknown;
}

/** The head of an answer; its headers are names and values in turn. */
export interface UndiciAnswer {
  readonly statusCode: number;
  readonly headers: readonly unknown[];
}
