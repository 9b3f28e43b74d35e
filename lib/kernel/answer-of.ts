import { isThenable, whenSettled } from './thenable';
import { OwnError } from './own-error';

const ignore = (): void => undefined;

/**
 * What a function of the application has answered, where that is needed at once. The rejection of a promise is
 * handled: it would end the process.
 *
 * @throws OwnError where it is a promise
 */
export function answerOf<T>(answer: T, who = 'it'): T {
  if (!isThenable(answer)) return answer;
  whenSettled(answer, ignore, ignore);
  throw new OwnError(`${who} returned a promise, but must be synchronous`);
}
