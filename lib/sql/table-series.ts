const DATE =
  /^(.+?)[_-][ypm]?20\d\d(?:[_-]?m?(?:0[1-9]|1[0-2])(?<day>[_-]?d?(?:0[1-9]|[12]\d|3[01]))?|[_-]?(?<part>[wq])[_-]?(?:[1-4]|[0-5]\d))$/i;
const MAX_NAME = 64;

/**
 * The one name of the tables that hold a month, a day, a week or a quarter each: `events_yyyy_mm` for
 * `events_2026_01`, `events_202601` and `events_y2026m01`; `undefined` for all others, also those of a year.
 */
export function foldedTable(name: string): string | undefined {
  if (name.length > MAX_NAME) return undefined;
  const found = DATE.exec(name);
  if (found === null) return undefined;
  const { day, part } = found.groups as { day?: string; part?: string };
  const period = part === undefined ? 'mm' : part.toLowerCase() === 'w' ? 'ww' : 'q';
  return `${found[1]}_yyyy_${period}${day === undefined ? '' : '_dd'}`;
}
