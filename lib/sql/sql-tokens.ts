import type { SqlDialect } from './statement';

/** What the first character of a token says about the token. Plain numbers: they index a switch on the hot path. */
export const TOKEN = {
  word: 0,
  space: 1,
  digit: 2,
  string: 3,
  name: 4,
  /** Double quotes that may hold a name or a string. */
  nameOrString: 5,
  open: 6,
  close: 7,
  comma: 8,
  dot: 9,
  semicolon: 10,
  operator: 11,
  minus: 12,
  slash: 13,
  hash: 14,
  dollar: 15,
  question: 16,
  colon: 17,
  at: 18,
  percent: 19,
  openBracket: 20,
  closeBracket: 21,
} as const;

const PLAIN_CLASSES = classes(undefined, {
  [TOKEN.word]: 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_',
  [TOKEN.digit]: '0123456789',
  [TOKEN.string]: "'",
  [TOKEN.name]: '"',
  [TOKEN.open]: '(',
  [TOKEN.close]: ')',
  [TOKEN.comma]: ',',
  [TOKEN.dot]: '.',
  [TOKEN.semicolon]: ';',
  [TOKEN.minus]: '-',
  [TOKEN.slash]: '/',
  [TOKEN.dollar]: '$',
  [TOKEN.question]: '?',
  [TOKEN.colon]: ':',
  [TOKEN.at]: '@',
  [TOKEN.percent]: '%',
  [TOKEN.openBracket]: '[',
  [TOKEN.closeBracket]: ']',
});

/** The token class of each ASCII character, by dialect. Everything above ASCII belongs to a word. */
export const TOKEN_CLASSES: Readonly<Record<SqlDialect, Uint8Array>> = {
  postgresql: PLAIN_CLASSES,
  mysql: classes(PLAIN_CLASSES, {
    [TOKEN.string]: '"',
    [TOKEN.name]: '`',
    [TOKEN.hash]: '#',
    [TOKEN.word]: '$',
  }),
  sqlite: classes(PLAIN_CLASSES, { [TOKEN.nameOrString]: '"', [TOKEN.name]: '`[' }),
  mssql: classes(PLAIN_CLASSES, { [TOKEN.nameOrString]: '"', [TOKEN.name]: '[', [TOKEN.word]: '#' }),
  generic: classes(PLAIN_CLASSES, {
    [TOKEN.nameOrString]: '"',
    [TOKEN.name]: '`',
    [TOKEN.hash]: '#',
  }),
};

function classes(base: Uint8Array | undefined, marks: Readonly<Record<number, string>>): Uint8Array {
  const table = new Uint8Array(128).fill(TOKEN.operator).fill(TOKEN.space, 0, 33).fill(TOKEN.space, 127);
  if (base !== undefined) table.set(base);
  for (const [value, characters] of Object.entries(marks)) {
    for (const character of characters) table[character.charCodeAt(0)] = Number(value);
  }
  return table;
}
