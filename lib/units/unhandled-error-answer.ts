import type { RequestContext } from '../context/request-context';
import { answerOnce, hasBegun } from '../handlers/answer-once';
import type { FilterAnswer } from '../handlers/filter-answer';

/** Gives a request whose work has ended with an unhandled error the answer of its exception filters. */
export class UnhandledErrorAnswer {
  readonly #answers: FilterAnswer;

  constructor(answers: FilterAnswer) {
    this.#answers = answers;
  }

  /** Whether the filters were asked: the request waits, and nothing of another answer has left. */
  give(context: RequestContext, error: unknown): boolean {
    const { exchange } = context;
    if (exchange === undefined || hasBegun(exchange[1])) return false;
    const answer = this.#answers.of(context.handler, exchange);
    if (answer === undefined) return false;
    answerOnce(answer.filters, exchange[1], () => answer.filters.next(error, answer.host));
    return true;
  }
}
