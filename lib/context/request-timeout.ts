import { MAX_TIMER_MS } from '../kernel/option-checks';

/** https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md: at most eight digits and a unit. */
const GRPC = /^(\d{1,8})([HMSmun])$/;
const WHOLE = /^\d{1,10}$/;
const UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** Milliseconds that a caller still waits, as its header says; `undefined` for what says nothing of the kind. */
export function readTimeout(value: unknown): number | undefined {
  return typeof value === 'string' && WHOLE.test(value) ? sane(Number(value)) : undefined;
}

/** The same of `grpc-timeout`: `1500m`, `2S`. */
export function readGrpcTimeout(value: unknown): number | undefined {
  const [, digits = '', unit = ''] = (typeof value === 'string' && GRPC.exec(value)) || [];
  const factor = UNITS[unit];
  return factor === undefined ? undefined : sane(Number(digits) * factor);
}

/** Milliseconds as a header says them. Not 0, which stands for no limit with some. */
export function formatTimeout(remainingMs: number): string {
  return String(Math.max(1, Math.floor(remainingMs)));
}

function sane(timeoutMs: number): number | undefined {
  return timeoutMs > 0 && timeoutMs <= MAX_TIMER_MS ? timeoutMs : undefined;
}
