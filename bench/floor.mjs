/**
 * The least that counting exactly costs: a prototype for `pool.query()` of pg 8 and nothing else. The query that is
 * sent carries its charge and ends itself: no hand-over, no closure and no promise beyond those of the bare driver.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { Pool, Query } from 'pg';

/** Of one query in the log: shape, rows, milliseconds. Old ones are written over. */
const FIELDS = 3;
const LOG = new Float64Array(FIELDS * 4_096);

const storage = new AsyncLocalStorage();
const shapes = new Map();
let [logged, counted] = [0, 0];

class Ledger {
  id = randomUUID();
  queries = 0;
  failed = 0;
  rows = 0;
  ms = 0;
}

class ChargedQuery extends Query {
  constructor(text, values, ledger) {
    super(text, values);
    this.ledger = ledger;
    this.shape = shapes.get(text) ?? shapes.set(text, shapes.size + 1).size;
    this.rowsRead = 0;
    this.began = performance.now();
    ledger.queries++;
  }

  handleCommandComplete(message, connection) {
    super.handleCommandComplete(message, connection);
    this.rowsRead += this._result.rowCount ?? 0;
  }

  handleReadyForQuery(connection) {
    this.settle(false);
    super.handleReadyForQuery(connection);
  }

  handleError(error, connection) {
    this.settle(true);
    super.handleError(error, connection);
  }

  /** Once: pg may say both that it has failed and that it is ready. */
  settle(failed) {
    const { ledger } = this;
    if (ledger === undefined) return;
    this.ledger = undefined;
    counted++;
    ledger.rows += this.rowsRead;
    if (failed) ledger.failed++;
    const at = (logged++ * FIELDS) % LOG.length;
    LOG[at] = this.shape;
    LOG[at + 1] = this.rowsRead;
    ledger.ms += LOG[at + 2] = performance.now() - this.began;
  }
}

export function floor() {
  const bare = Pool.prototype.query;
  Pool.prototype.query = function query(text, values, callback) {
    const ledger = storage.getStore();
    const isKnown = ledger !== undefined && typeof text === 'string' && typeof values !== 'function';
    if (!isKnown) return bare.call(this, text, values, callback);
    return bare.call(this, new ChargedQuery(text, values, ledger), undefined, callback);
  };
  return {
    setUp: app =>
      app.getHttpAdapter().setOnRequestHook((_request, _response, done) => storage.run(new Ledger(), done)),
    evidence: () => ({ context: true, queries: storage.getStore()?.queries }),
    usage: () => ({ counted }),
  };
}
