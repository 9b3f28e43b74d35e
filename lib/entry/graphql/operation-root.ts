import type { RequestContext } from '../../context/request-context';
import type { Subscription } from './subscription';

/**
 * Stands for the root value of one execution, which every field is told in `info`: the one thing that is an
 * execution's own and that reaches all of its fields. A parsed document is shared by executions, and the
 * context of a connection by its operations.
 */
export class OperationRoot {
  /** What an operation has subscribed to. */
  subscription: Subscription | undefined = undefined;

  /**
   * @param context the unit of work that its fields run in
   * @param value what the resolvers of the application are told instead
   */
  constructor(
    readonly context: RequestContext,
    readonly value: unknown,
  ) {}
}
