import { type Observable, take } from 'rxjs';
import { answerOf } from '../../kernel/answer-of';
import { OwnError } from '../../kernel/own-error';

/** The most messages that a client may sit on: a broker that hangs must not fill the memory. */
const MAX_UNSETTLED = 64;
/** A client that has forgotten a message without a word must not stop the others for good. */
const FORGET_AFTER_MS = 300_000;

/** A client has said nothing of a message. */
export class OverdueError extends OwnError {}

/**
 * Waits for what a client says of a message, for a while.
 *
 * A client cannot be told to forget an event, and some keep it until they are connected again; so
 * those that are overdue are counted, and no more are made than it may sit on.
 */
export class UnsettledMessages {
  #count = 0;

  /**
   * The first value, or nothing where there is none.
   *
   * @param isRequest whether to unsubscribe is to forget it
   * @throws OverdueError when it takes longer than `timeoutMs`, or when too many are overdue already
   */
  async wait(make: () => Observable<unknown>, timeoutMs: number, isRequest: boolean): Promise<unknown> {
    if (this.#count >= MAX_UNSETTLED) {
      throw new OverdueError(`the client has neither accepted nor rejected ${this.#count} messages yet`);
    }
    const answer = answerOf(make(), 'the client').pipe(take(1));
    this.#count += 1;
    let isOpen = true;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        if (isOpen) this.#count -= 1;
        isOpen = false;
      };
      let timer = setTimeout(() => {
        reject(new OverdueError(`neither accepted nor rejected within ${timeoutMs} ms`));
        if (!isRequest) {
          timer = setTimeout(settle, FORGET_AFTER_MS).unref();
          return;
        }
        settle();
        try {
          subscription.unsubscribe();
        } catch {
          // The client failed to forget it; out of a timer, that would end the process.
        }
      }, timeoutMs).unref();
      const subscription = answer.subscribe({
        next: resolve,
        error: reason => {
          settle();
          reject(reason);
        },
        complete: () => {
          settle();
          resolve(undefined);
        },
      });
    });
  }
}
