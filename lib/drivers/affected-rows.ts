/** Rows returned or affected, as the drivers for MySQL give them; of several statements in one text, all of them. */
export function rowsOf(result: unknown): number {
  if (!Array.isArray(result)) return isOutcome(result) ? result.affectedRows : 0;
  // So mariadb marks the rows of one statement; as arrays of dates they look like several results.
  if (Array.isArray((result as { meta?: unknown }).meta)) return result.length;
  if (!result.every(isResult)) return result.length;
  return result.reduce<number>((sum, one) => sum + rowsOf(one), 0);
}

/** Whether it is the outcome of a statement without rows: a class of the driver's, which a row is not. */
export function isOutcome(value: unknown): value is { readonly affectedRows: number } {
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) === Object.prototype) {
    return false;
  }
  return typeof (value as { affectedRows?: unknown }).affectedRows === 'number';
}

/** Whether it is the result of one of several statements, and not a row. */
function isResult(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(row => typeof row === 'object' && row !== null);
  return isOutcome(value);
}
