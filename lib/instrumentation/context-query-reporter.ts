import { performance } from 'node:perf_hooks';
import { type ChargeRedirect, currentRedirect, runUncharged } from '../context/charge-redirect';
import { contextStorage } from '../context/context-storage';
import type { RequestContext } from '../context/request-context';
import { isBudgetExceeded } from '../budget/query-budget-exceeded.error';
import { isStopped, knownStop } from '../budget/work-stop';
import type { CallDimension } from '../cost/call-ledger';
import type { CostLedger } from '../cost/cost-ledger';
import type { GivenValues } from '../cost/evidence/operation-values';
import type { Charge } from '../cost/query-charge';
import { statementsOf } from '../sql/describe-statement';
import { hashParameters, hashText, mixSeed } from '../sql/parameter-hash';
import { placeOf, SessionPlace, standsFor } from '../sql/session-place';
import type { Statement, SqlDialect } from '../sql/statement';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import type { LostContexts } from '../detectors/lost-contexts/lost-contexts';
import type { PooledQuery } from '../detectors/pools/pooled-query';
import type { PoolWatch } from '../detectors/pools/pool-watch';
import { leaseOf, releaseLease } from '../detectors/pools/watched-pool';
import type { AttributionFigures } from './attribution';
import type { OwnQueryReporter } from './driver-instrumentation';
import type {
  StackBoundary,
  CallHandle,
  AcquisitionHandle,
  OwnQueryHandle,
  QueryHandle,
} from '../cost/query-handle';

const NO_TEXT: Statement = Object.freeze({ shape: '?', table: undefined, operation: '?', kind: 'read' });

/** Charges what one driver does to the unit of work that is running. */
export class ContextQueryReporter implements OwnQueryReporter {
  readonly #driver: string;
  readonly #figures: AttributionFigures;
  readonly #lost: LostContexts;
  readonly #hookErrors: HookErrorReporter;
  readonly #pools: PoolWatch;

  constructor(
    driver: string,
    figures: AttributionFigures,
    lost: LostContexts,
    hookErrors: HookErrorReporter,
    pools: PoolWatch,
  ) {
    this.#driver = driver;
    this.#figures = figures;
    this.#lost = lost;
    this.#hookErrors = hookErrors;
    this.#pools = pools;
  }

  begin(
    text: string | undefined,
    dialect: SqlDialect,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
  ): QueryHandle | undefined {
    try {
      const statements = statementsOf(dialect);
      const statement = text === undefined ? NO_TEXT : statements.describe(text);
      const literals = text !== undefined && statements.foundLiteral ? text : undefined;
      if (on !== undefined && statement.kind === 'transaction') admitByHolder(on, statement);
      const context = contextStorage.getStore();
      const charge = this.#charge(context, statement, stackBoundary, parameters, literals, false, on);
      if (text !== undefined) charge?.ran(text, parameters, on && placeOf(on).database);
      return on === undefined ? charge : this.#pools.note(on, statement, charge);
    } catch (error) {
      return this.#failed(error);
    }
  }

  beginPooled(
    query: PooledQuery,
    pool: object,
    size: number,
    isFree: boolean,
    text: string | undefined,
    dialect: SqlDialect,
    stackBoundary: StackBoundary,
    parameters?: unknown,
  ): void {
    try {
      const context = contextStorage.getStore();
      const statements = statementsOf(dialect);
      const statement = text === undefined ? NO_TEXT : statements.describe(text);
      const literals = text !== undefined && statements.foundLiteral ? text : undefined;
      const charge = this.#charge(context, statement, stackBoundary, parameters, literals, !isFree, pool);
      if (text !== undefined) charge?.ran(text, parameters, placeOf(pool).database ?? pool);
      query.handle = charge;
      const watched = this.#pools.of(pool, this.#driver, size);
      if (!isFree) query.askedMs = performance.now();
      if (watched === undefined) return;
      query.context = context;
      query.statement = statement;
      query.watched = watched;
      if (!isFree) watched.enqueue(query);
    } catch (error) {
      this.#failed(error);
    }
  }

  noteCall(text: string, dialect: SqlDialect, stackBoundary: StackBoundary): void {
    try {
      const history = contextStorage.getStore()?.cost.history;
      if (history === undefined || !history.takesCall()) return;
      const { shape, key = shape } = statementsOf(dialect).describe(text);
      history.noteSite(key, stackBoundary);
    } catch (error) {
      this.#hookErrors.report('noting a call', error);
    }
  }

  beginOperation(
    operation: Statement,
    stackBoundary: StackBoundary,
    parameters?: unknown,
    on?: object,
    values?: GivenValues,
  ): OwnQueryHandle | undefined {
    try {
      const context = contextStorage.getStore();
      const redirect = currentRedirect();
      let charge: Charge | undefined;
      if (context === undefined) {
        this.#lose(redirect, operation, stackBoundary);
      } else {
        const isComparable = operation.kind === 'read' && parameters !== undefined;
        const hash = isComparable ? hashParameters(parameters, on && placeOf(on).seed) : undefined;
        charge = this.#ledgerOf(context, redirect, operation.shape, stackBoundary)?.begin(
          operation,
          stackBoundary,
          hash,
        );
        if (values !== undefined) charge?.ran(values.read, values.given, values.target);
      }
      return on === undefined ? charge : this.#pools.note(on, operation, charge);
    } catch (error) {
      return this.#failed(error);
    }
  }

  beginCall(dimension: CallDimension, target: string, stackBoundary: StackBoundary): CallHandle | undefined {
    try {
      const context = contextStorage.getStore();
      const redirect = currentRedirect();
      if (context === undefined) return this.#lose(redirect, undefined, stackBoundary);
      return this.#ledgerOf(context, redirect, target, stackBoundary)?.beginCall(
        dimension,
        target,
        stackBoundary,
      );
    } catch (error) {
      return this.#failed(error);
    }
  }

  beginWait(): { end(): void } | undefined {
    const context = contextStorage.getStore();
    if (context === undefined || context.isClosed) return undefined;
    const redirect = currentRedirect();
    const ledger = redirect === undefined ? context.cost : redirect.ledger;
    return ledger?.beginWait();
  }

  beginAcquisition(pool: object, size: number, stackBoundary: StackBoundary): AcquisitionHandle | undefined {
    try {
      const acquisition = this.#pools.acquisition(pool, this.#driver, size, stackBoundary);
      if (acquisition !== undefined) standsFor(acquisition, pool);
      return acquisition;
    } catch (error) {
      return this.#failed(error);
    }
  }

  released(connection: object): void {
    releaseLease(connection);
  }

  uncharged<T>(fn: () => T): T {
    return runUncharged(fn);
  }

  warn(message: string): void {
    this.#hookErrors.say(`instrumentation of ${this.#driver}`, message);
  }

  #charge(
    context: RequestContext | undefined,
    statement: Statement,
    stackBoundary: StackBoundary,
    parameters: unknown,
    literals: string | undefined,
    isQueued: boolean,
    on: object | undefined,
  ): Charge | undefined {
    const redirect = currentRedirect();
    const effects = statement.session ?? 0;
    if (effects !== 0 && on !== undefined) placeOf(on).note(effects, literals ?? statement.shape, parameters);
    if (context === undefined) return this.#lose(redirect, statement, stackBoundary);
    const ledger = this.#ledgerOf(context, redirect, statement.shape, stackBoundary);
    if (ledger === undefined) return undefined;
    if (effects !== 0 && on === undefined) {
      (ledger.place ??= new SessionPlace(0)).note(effects, literals ?? statement.shape, parameters);
    }
    const isComparable = statement.kind === 'read' && statement.isVolatile !== true;
    const place = on === undefined ? ledger.place : placeOf(on);
    const hash = isComparable ? hashOf(statement, literals, parameters, place?.seed) : undefined;
    return ledger.begin(statement, stackBoundary, hash, isQueued);
  }

  #ledgerOf(
    context: RequestContext,
    redirect: ChargeRedirect | undefined,
    what: string,
    stackBoundary: StackBoundary,
  ): CostLedger | undefined {
    if (redirect !== undefined && redirect.ledger === undefined) return undefined;
    if (context.isClosed) {
      this.#figures.late += 1;
      context.application.noteLate(context, what, stackBoundary);
      return context.cost;
    }
    this.#figures.charged += 1;
    return redirect?.ledger ?? context.cost;
  }

  #lose(
    redirect: ChargeRedirect | undefined,
    statement: Statement | undefined,
    stackBoundary: StackBoundary,
  ): undefined {
    if (this.#lost.serving === 0 || redirect !== undefined) return;
    this.#figures.lost += 1;
    // A cache or a broker is also asked by whoever keeps its connection; that is nothing to say each minute.
    if (statement !== undefined) this.#lost.report(statement, stackBoundary);
  }

  #failed(error: unknown): undefined {
    if (isBudgetExceeded(error)) throw error;
    this.#hookErrors.report('counting a query', error);
  }
}

/** Whoever commits: what was done on a connection is that of the unit of work which has taken it from its pool. */
function admitByHolder(connection: object, statement: Statement): void {
  const holder = leaseOf(connection)?.context;
  if (holder === undefined || currentRedirect() !== undefined || !isStopped(holder)) return;
  knownStop(holder)?.keepBack(statement);
}

/** What tells a query from others of its shape; `undefined` where that is not known. */
function hashOf(
  { shape, variant }: Statement,
  literals: string | undefined,
  parameters: unknown,
  place: number | undefined,
): number | undefined {
  if (literals !== undefined) {
    const seed = hashText(literals, place);
    return seed === undefined ? undefined : hashParameters(parameters, seed);
  }
  // It has values, and whoever reports it has not said which.
  if (parameters === undefined && shape.includes('?')) return undefined;
  return hashParameters(parameters, variant === undefined ? place : mixSeed(place ?? 0, variant));
}
