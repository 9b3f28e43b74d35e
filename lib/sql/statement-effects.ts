import { isWord } from './bare-literals';

/** A setting of the session changes, until it ends. */
export const SETS = 1;
/** The same until the transaction ends, or what is seen in it. */
export const SETS_LOCALLY = 2;
export const BEGINS = 4;
export const ENDS = 8;
/** The session is as it was when it was opened. */
export const RESETS = 16;

const SESSION_VERBS: ReadonlyMap<string, number> = new Map([
  ['SET', SETS],
  ['USE', SETS],
  ['RESET', SETS],
  ['ATTACH', SETS],
  ['DETACH', SETS],
  ['BEGIN', BEGINS],
  ['START', BEGINS],
  ['COMMIT', ENDS],
  ['END', ENDS],
  ['ROLLBACK', ENDS],
  ['ABORT', ENDS],
  ['DISCARD', RESETS],
]);
const LOCAL = /\bset\s+(?:local|transaction)\b/i;
const FOR_SESSION = /\b(?:set\s+(?!local\b|transaction\b)\w|use\s|reset\s|attach\s|detach\s)/i;
const TO_SAVEPOINT = /\brollback\s+(?:work\s+|transaction\s+)?to\b/i;
const RESETS_ALL = /^[\s;]*(?:discard|reset)\s+all[\s;]*$/i;
/** The third argument of `set_config()`. */
const LOCAL_CONFIG = /,\s*true\s*\)/i;
const NEXT_VALUE = /^next\s+value\s+for\b/i;

/** Functions that answer otherwise each time, or do something. */
const VOLATILE_CALLS = wordSet(
  'nextval currval lastval setval last_insert_id last_insert_rowid row_count found_rows changes total_changes ' +
    'scope_identity ident_current now sysdate getdate getutcdate sysdatetime sysutcdatetime sysdatetimeoffset ' +
    'clock_timestamp statement_timestamp transaction_timestamp timeofday current_timestamp current_date ' +
    'current_time localtime localtimestamp utc_timestamp utc_date utc_time curdate curtime unix_timestamp ' +
    'random rand randomblob setseed random_normal uuid uuid_short newid newsequentialid gen_random_uuid ' +
    'gen_random_bytes uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 ' +
    'pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all ' +
    'pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock ' +
    'pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared get_lock ' +
    'release_lock release_all_locks is_free_lock is_used_lock ' +
    'pg_notify set_config txid_current pg_current_xact_id pg_current_wal_lsn pg_logical_slot_get_changes ' +
    'pg_terminate_backend pg_cancel_backend lo_creat lo_create lo_unlink dblink dblink_exec',
);
/** The same without brackets. */
const VOLATILE_WORDS = wordSet(
  'current_timestamp current_date current_time localtime localtimestamp sysdate systimestamp utc_timestamp',
);
/** Rows that are locked while they are read. */
const LOCKS = wordSet('updlock xlock holdlock readpast');
const AFTER_FOR = wordSet('share no key');
const LONGEST = 32;

/** Reads off a statement what makes its second run another question than its first. */
export class StatementEffects {
  /** Whether it may answer otherwise though nothing was written between. */
  isVolatile = false;
  #session = 0;
  #setsConfig = false;

  reset(): void {
    this.isVolatile = false;
    this.#session = 0;
    this.#setsConfig = false;
  }

  /** @param previous the keyword before */
  keyword(word: string, previous: string): void {
    if (word === 'UPDATE' && previous === 'FOR') this.isVolatile = true;
  }

  /** A word that is no keyword. */
  name(text: string, start: number, end: number, previous: string): void {
    const length = end - start;
    if (length < 2 || length > LONGEST) return;
    const isCall = isBeforeBracket(text, end);
    // Most names are neither: without a look into the sets.
    if (!isCall && previous !== 'FOR' && previous !== 'IN' && !mayBeVolatile(text.charCodeAt(start) | 32))
      return;
    const word = text.slice(start, end).toLowerCase();
    if (isCall ? VOLATILE_CALLS.has(word) : VOLATILE_WORDS.has(word) || LOCKS.has(word))
      this.isVolatile = true;
    else if (previous === 'FOR' && AFTER_FOR.has(word)) this.isVolatile = true;
    else if (previous === 'IN' && word === 'share') this.isVolatile = true;
    else if (word === 'next' && NEXT_VALUE.test(text.slice(start, start + LONGEST))) this.isVolatile = true;
    if (isCall && word === 'set_config') this.#setsConfig = true;
  }

  /** A text: `datetime('now')`. */
  string(text: string, start: number, end: number): void {
    if (end - start === 5 && isWord(text, start + 1, end - 1, 'NOW')) this.isVolatile = true;
  }

  /** @param verb that of a statement that has ended */
  verb(verb: string): void {
    if (verb === 'FETCH') this.isVolatile = true;
    this.#session |= SESSION_VERBS.get(verb) ?? 0;
  }

  /** What it does to its session; 0 for most. */
  sessionOf(text: string): number {
    let session = this.#session;
    if (this.#setsConfig) session |= LOCAL_CONFIG.test(text) ? SETS_LOCALLY : SETS;
    if (session === 0 || session === BEGINS) return session;
    if (RESETS_ALL.test(text)) return RESETS;
    if ((session & SETS) !== 0 && LOCAL.test(text)) {
      session |= SETS_LOCALLY;
      if (!FOR_SESSION.test(text)) session &= ~SETS;
    }
    if ((session & ENDS) !== 0 && TO_SAVEPOINT.test(text)) session = (session & ~ENDS) | SETS_LOCALLY;
    return session;
  }
}

function isBeforeBracket(text: string, end: number): boolean {
  const next = text.charCodeAt(end);
  return next === 40 || (next === 32 && text.charCodeAt(end + 1) === 40);
}

/** The letters that the words without brackets begin with. */
function mayBeVolatile(letter: number): boolean {
  // c, h, l, n, r, s, u and x
  return (
    letter === 99 ||
    letter === 104 ||
    letter === 108 ||
    letter === 110 ||
    letter === 114 ||
    letter === 115 ||
    letter === 117 ||
    letter === 120
  );
}

function wordSet(words: string): ReadonlySet<string> {
  return new Set(words.split(' '));
}
