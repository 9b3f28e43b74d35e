import {
  endOfBlockComment,
  endOfDollarQuote,
  endOfLineComment,
  endOfNumber,
  endOfQuotedName,
  endOfSpace,
  endOfString,
  endOfWord,
  isDigit,
  isWordPart,
  NO_END,
} from '../../sql/sql-lexer';

/** A word, a quoted name, a value or a mark of a statement. */
export interface Word {
  readonly kind: 'word' | 'name' | 'literal' | 'parameter' | 'mark';
  /** What is written; of a quoted name and a string what is between the quotes, of a parameter its name or number. */
  readonly text: string;
  /** In capitals, for a word: so that keywords are found whoever wrote them. */
  readonly upper: string;
  /** Where it stands. */
  readonly start: number;
  readonly end: number;
}

/** In place of capitals, on a parameter that has a name. */
export const NAMED = '@';

const MARKS_OF_TWO = new Set(['::', '<=', '>=', '<>', '!=', '||', '->', '=>', ':=', '@>', '<@', '&&']);
const DOLLAR_NAME = /\$[\p{L}_][\p{L}\p{N}_]*(?![\p{L}\p{N}_$])/uy;
const BRACKETED = /\[[\p{L}_][\p{L}\p{N}_ ]*\]/uy;

/** The words of a statement; `undefined` where it cannot be told what is a value and what is not. */
export function wordsOf(text: string): Word[] | undefined {
  const words: Word[] = [];
  let questions = 0;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    const next = text.charCodeAt(at + 1);
    let end = at + 1;
    if (code <= 32) {
      at = endOfSpace(text, at);
      continue;
    }
    if ((code === 45 && next === 45) || (code === 47 && next === 42)) {
      at = code === 45 ? endOfLineComment(text, at) : endOfBlockComment(text, at, 'postgresql');
      if (at === NO_END) return undefined;
      continue;
    }
    if (code === 39) {
      end = endOfString(text, at, 'doubt');
      words.push(wordAt('literal', text.slice(at + 1, end - 1).replaceAll("''", "'"), at, end));
    } else if (code === 34 || code === 96) {
      end = endOfQuotedName(text, at);
      words.push(wordAt('name', text.slice(at + 1, end - 1), at, end));
    } else if (code === 91 && isBracketed(text, at)) {
      end = endOfQuotedName(text, at);
      words.push(wordAt('name', text.slice(at + 1, end - 1), at, end));
    } else if (code === 36 && isDigit(next)) {
      end = endOfNumber(text, at + 1);
      words.push(wordAt('parameter', text.slice(at + 1, end), at, end));
    } else if (code === 36 && endOfDollarName(text, at) > at) {
      end = endOfDollarName(text, at);
      words.push(wordAt('parameter', text.slice(at + 1, end), at, end));
    } else if (code === 36) {
      end = endOfDollarQuote(text, at) ?? NO_END;
      words.push(wordAt('literal', '', at, end));
    } else if (code === 63) {
      // An operator of PostgreSQL, whose parameters have numbers.
      if (text.includes('$1')) words.push(wordAt('mark', '?', at, end));
      else {
        if (isDigit(next)) end = endOfNumber(text, at + 1);
        words.push(wordAt('parameter', text.slice(at + 1, end) || String((questions += 1)), at, end));
      }
    } else if ((code === 58 && isWordPart(next) && !isDigit(next)) || (code === 64 && isWordPart(next))) {
      end = endOfWord(text, at + 1);
      // `@0` is a name, and no first parameter.
      words.push({ ...wordAt('parameter', text.slice(at + 1, end), at, end), upper: NAMED });
    } else if (isDigit(code)) {
      end = endOfNumber(text, at);
      words.push(wordAt('literal', text.slice(at, end), at, end));
    } else if (isWordPart(code)) {
      end = endOfWord(text, at);
      const word = text.slice(at, end);
      words.push({ kind: 'word', text: word, upper: word.toUpperCase(), start: at, end });
    } else {
      const two = text.slice(at, at + 2);
      if (MARKS_OF_TWO.has(two)) end = at + (text.startsWith('->>', at) ? 3 : 2);
      words.push(wordAt('mark', text.slice(at, end), at, end));
    }
    if (end === NO_END) return undefined;
    at = end;
  }
  return words;
}

/** `$id` of SQLite; `$id$` begins a quote of PostgreSQL. */
function endOfDollarName(text: string, at: number): number {
  DOLLAR_NAME.lastIndex = at;
  return DOLLAR_NAME.test(text) ? DOLLAR_NAME.lastIndex : at;
}

function wordAt(kind: Word['kind'], text: string, start: number, end: number): Word {
  return { kind, text, upper: '', start, end };
}

/** `[order_id]` of SQL Server, rather than the bracket of an array. */
function isBracketed(text: string, at: number): boolean {
  const before = text.charCodeAt(at - 1);
  if (at > 0 && (isWordPart(before) || before === 93 || before === 41)) return false;
  BRACKETED.lastIndex = at;
  return BRACKETED.test(text);
}
