import { type Aside, currentAside, runUncharged } from '../context/aside';
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
import type { FaultReporter } from '../reporting/fault-reporter';
import type { LostContexts } from '../detectors/lost-contexts/lost-contexts';
import type { PooledQuery } from '../detectors/pools/pooled-query';
import type { PoolWatch } from '../detectors/pools/pool-watch';
import { holdingOf, releaseHolding } from '../detectors/pools/watched-pool';
import type { AttributionFigures } from './attribution';
import type { OwnQueryReporter } from './driver-instrumentation';
import type { Below, CallHandle, CheckoutHandle, OwnQueryHandle, QueryHandle } from '../cost/query-handle';

const NO_TEXT: Statement = Object.freeze({ shape: '?', table: undefined, operation: '?', kind: 'read' });

/** Charges what one driver does to the unit of work that is running. */
export class ContextQueryReporter implements OwnQueryReporter {
  readonly #driver: string;
  readonly #figures: AttributionFigures;
  readonly #lost: LostContexts;
  readonly #faults: FaultReporter;
  readonly #pools: PoolWatch;

  constructor(
    driver: string,
    figures: AttributionFigures,
    lost: LostContexts,
    faults: FaultReporter,
    pools: PoolWatch,
  ) {
    this.#driver = driver;
    this.#figures = figures;
    this.#lost = lost;
    this.#faults = faults;
    this.#pools = pools;
  }

  begin(
    text: string | undefined,
    dialect: SqlDialect,
    below: Below,
    parameters?: unknown,
    on?: object,
  ): QueryHandle | undefined {
    try {
      const statements = statementsOf(dialect);
      const statement = text === undefined ? NO_TEXT : statements.describe(text);
      const literals = text !== undefined && statements.foundLiteral ? text : undefined;
      if (on !== undefined && statement.kind === 'transaction') admitByHolder(on, statement);
      const context = contextStorage.getStore();
      const charge = this.#charge(context, statement, below, parameters, literals, false, on);
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
    below: Below,
    parameters?: unknown,
  ): void {
    try {
      const context = contextStorage.getStore();
      const statements = statementsOf(dialect);
      const statement = text === undefined ? NO_TEXT : statements.describe(text);
      const literals = text !== undefined && statements.foundLiteral ? text : undefined;
      const charge = this.#charge(context, statement, below, parameters, literals, !isFree, pool);
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

  noteCall(text: string, dialect: SqlDialect, below: Below): void {
    try {
      const history = contextStorage.getStore()?.cost.history;
      if (history === undefined || !history.takesCall()) return;
      const { shape, key = shape } = statementsOf(dialect).describe(text);
      history.noteSite(key, below);
    } catch (error) {
      this.#faults.report('noting a call', error);
    }
  }

  beginOperation(
    operation: Statement,
    below: Below,
    parameters?: unknown,
    on?: object,
    values?: GivenValues,
  ): OwnQueryHandle | undefined {
    try {
      const context = contextStorage.getStore();
      const aside = currentAside();
      let charge: Charge | undefined;
      if (context === undefined) {
        this.#lose(aside, operation, below);
      } else {
        const isComparable = operation.kind === 'read' && parameters !== undefined;
        const hash = isComparable ? hashParameters(parameters, on && placeOf(on).seed) : undefined;
        charge = this.#ledgerOf(context, aside, operation.shape, below)?.begin(operation, below, hash);
        if (values !== undefined) charge?.ran(values.read, values.given, values.target);
      }
      return on === undefined ? charge : this.#pools.note(on, operation, charge);
    } catch (error) {
      return this.#failed(error);
    }
  }

  beginCall(dimension: CallDimension, target: string, below: Below): CallHandle | undefined {
    try {
      const context = contextStorage.getStore();
      const aside = currentAside();
      if (context === undefined) return this.#lose(aside, undefined, below);
      return this.#ledgerOf(context, aside, target, below)?.beginCall(dimension, target, below);
    } catch (error) {
      return this.#failed(error);
    }
  }

  beginWait(): { end(): void } | undefined {
    const context = contextStorage.getStore();
    if (context === undefined || context.isClosed) return undefined;
    const aside = currentAside();
    const ledger = aside === undefined ? context.cost : aside.ledger;
    return ledger?.beginWait();
  }

  beginCheckout(pool: object, size: number, below: Below): CheckoutHandle | undefined {
    try {
      const checkout = this.#pools.checkout(pool, this.#driver, size, below);
      if (checkout !== undefined) standsFor(checkout, pool);
      return checkout;
    } catch (error) {
      return this.#failed(error);
    }
  }

  released(connection: object): void {
    releaseHolding(connection);
  }

  uncharged<T>(fn: () => T): T {
    return runUncharged(fn);
  }

  warn(message: string): void {
    this.#faults.say(`instrumentation of ${this.#driver}`, message);
  }

  #charge(
    context: RequestContext | undefined,
    statement: Statement,
    below: Below,
    parameters: unknown,
    literals: string | undefined,
    isQueued: boolean,
    on: object | undefined,
  ): Charge | undefined {
    const aside = currentAside();
    const effects = statement.session ?? 0;
    if (effects !== 0 && on !== undefined) placeOf(on).note(effects, literals ?? statement.shape, parameters);
    if (context === undefined) return this.#lose(aside, statement, below);
    const ledger = this.#ledgerOf(context, aside, statement.shape, below);
    if (ledger === undefined) return undefined;
    if (effects !== 0 && on === undefined) {
      (ledger.place ??= new SessionPlace(0)).note(effects, literals ?? statement.shape, parameters);
    }
    const isComparable = statement.kind === 'read' && statement.isVolatile !== true;
    const place = on === undefined ? ledger.place : placeOf(on);
    const hash = isComparable ? hashOf(statement, literals, parameters, place?.seed) : undefined;
    return ledger.begin(statement, below, hash, isQueued);
  }

  #ledgerOf(
    context: RequestContext,
    aside: Aside | undefined,
    what: string,
    below: Below,
  ): CostLedger | undefined {
    if (aside !== undefined && aside.ledger === undefined) return undefined;
    if (context.isClosed) {
      this.#figures.late += 1;
      context.application.noteLate(context, what, below);
      return context.cost;
    }
    this.#figures.charged += 1;
    return aside?.ledger ?? context.cost;
  }

  #lose(aside: Aside | undefined, statement: Statement | undefined, below: Below): undefined {
    if (this.#lost.serving === 0 || aside !== undefined) return;
    this.#figures.lost += 1;
    // A cache or a broker is also asked by whoever keeps its connection; that is nothing to say each minute.
    if (statement !== undefined) this.#lost.report(statement, below);
  }

  #failed(error: unknown): undefined {
    if (isBudgetExceeded(error)) throw error;
    this.#faults.report('counting a query', error);
  }
}

/** Whoever commits: what was done on a connection is that of the unit of work which has taken it from its pool. */
function admitByHolder(connection: object, statement: Statement): void {
  const holder = holdingOf(connection)?.context;
  if (holder === undefined || currentAside() !== undefined || !isStopped(holder)) return;
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
