import { endOfNumber, endOfString, isDigit } from '../../sql/sql-lexer';
import type { Word } from './words';

/** A text but for its literals. */
export interface LiteralPattern {
  /** What stands before each literal, and after the last one. */
  readonly pieces: readonly string[];
  readonly literals: readonly string[];
}

/** The pattern of a text; `undefined` where it has no literals. */
export function patternOf(text: string, words: readonly Word[]): LiteralPattern | undefined {
  const pieces: string[] = [];
  const literals: string[] = [];
  let at = 0;
  for (const word of words) {
    if (word.kind !== 'literal') continue;
    pieces.push(text.slice(at, word.start));
    literals.push(word.text);
    at = word.end;
  }
  return literals.length === 0 ? undefined : { pieces: [...pieces, text.slice(at)], literals };
}

/**
 * The literals of another text of this pattern; `undefined` where it is of another one. 0.3 µs, where reading it
 * anew takes 6 µs: an N+1 of 60 has 60 such texts.
 */
export function literalsOf({ pieces }: LiteralPattern, text: string): string[] | undefined {
  const literals: string[] = [];
  let at = 0;
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i] as string;
    if (!text.startsWith(piece, at)) return undefined;
    at += piece.length;
    if (i === pieces.length - 1) break;
    const code = text.charCodeAt(at);
    const end = code === 39 ? endOfString(text, at, 'doubt') : isDigit(code) ? endOfNumber(text, at) : -1;
    if (end === -1) return undefined;
    literals.push(code === 39 ? text.slice(at + 1, end - 1).replaceAll("''", "'") : text.slice(at, end));
    at = end;
  }
  return at === text.length ? literals : undefined;
}
