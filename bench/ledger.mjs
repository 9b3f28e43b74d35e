/**
 * Proves that nobody spends more than `@CostLimit()` allows: four processes share the buckets of 200 callers, who ask
 * all of them at once. What was spent is taken from the cost records, and held against what was allowed.
 *
 *   npm run --silent build && node bench/ledger.mjs [--seconds 30] [--runs redis,postgres,memory,refuse]
 *
 * In `memory` and `refuse`, named by their `onStoreFailure`, a Redis of its own is killed and comes back empty. Each
 * run is made with and without `@QueryBudget({ hard })`. Ends with 1 where anything is not as it should be.
 */
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Child } from './child.mjs';
import { audit } from './ledger-audit.mjs';
import { drive } from './ledger-callers.mjs';
import { dropTable, OwnRedis } from './ledger-stores.mjs';
import { figure, table } from './table.mjs';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    runs: { type: 'string', default: 'redis,postgres,memory,refuse' },
    limits: { type: 'string', default: 'soft,hard' },
    callers: { type: 'string', default: '200' },
    processes: { type: 'string', default: '4' },
    client: { type: 'string', default: 'ioredis' },
  },
});
const SECONDS = Number(values.seconds);
const PLAN = { burst: 1_500, restorePerSecond: 60 };
const HARD = { queries: 300, rows: 900, durationMs: 2_000 };
const HARD_PRICE = HARD.queries + HARD.rows * 0.01 + HARD.durationMs * 0.1;
/** When the server is killed and comes back, as shares of the time. */
const [KILLED, BACK] = [0.4, 0.6];
/** From the server's return until the last process has found it: a client may wait for 2 s, the limiter for 1 s. */
const FOUND_MS = 4_000;
/** For what is settled after the last answer. */
const SETTLED_MS = 2_000;

/** Kills the server in the middle; gives when it was away. */
async function interrupt(redis) {
  await setTimeout(SECONDS * KILLED * 1_000);
  await redis.kill();
  const lostMs = Date.now();
  await setTimeout(SECONDS * (BACK - KILLED) * 1_000);
  const backMs = Date.now();
  await redis.start();
  return { lostMs, backMs };
}

/** What is wrong with the answers: a list of sentences. */
function wrongAnswers(answers, { isHard, mode, outage }) {
  const wrong = new Map();
  for (const { status, reason, retryAfter, atMs } of answers) {
    const isOk =
      (status === 200 && reason === undefined) ||
      (status === 429 && (reason === 'spent' || reason === 'learning') && Number(retryAfter) >= 1) ||
      (status === 503 && reason === 'hard-budget' && isHard) ||
      (status === 503 &&
        reason === 'store-down' &&
        mode === 'refuse' &&
        retryAfter === '1' &&
        atMs >= outage.lostMs - 1_000 &&
        atMs <= outage.backMs + FOUND_MS);
    const what = `${status} ${reason ?? ''}, Retry-After ${retryAfter}`;
    if (!isOk) wrong.set(what, (wrong.get(what) ?? 0) + 1);
  }
  return Array.from(wrong, ([what, count]) => `answered ${count} times: ${what}`);
}

const count = (list, matches) => list.filter(matches).length;

/** What is wrong with what the processes count and say. */
function wrongCounts(processes, answers, { mode, outage }) {
  const counted = (reason, dryRun) =>
    processes
      .flatMap(({ refusals }) => refusals)
      .filter(refusal => refusal.reason === reason && refusal.dryRun === dryRun)
      .reduce((all, refusal) => all + refusal.count, 0);
  const recorded = reason => processes.reduce((all, { refused }) => all + (refused[reason] ?? 0), 0);
  const wrong = [];
  for (const reason of ['spent', 'learning', 'store-down']) {
    const seen = count(answers, answer => answer.reason === reason);
    if (counted(reason, false) !== seen || recorded(reason) !== seen) {
      wrong.push(
        `${reason}: ${seen} answers, ${counted(reason, false)} counted, ${recorded(reason)} recorded`,
      );
    }
  }
  const insured = counted('store-down', true);
  const inMemory = processes
    .flatMap(({ requests }) => requests)
    .filter(({ from }) => from === 'memory').length;
  if (outage === undefined || mode === 'refuse' ? insured > 0 : insured < inMemory) {
    wrong.push(`${insured} requests are counted as let in without the store, ${inMemory} were`);
  }
  for (const { lines, lastTakeMs } of processes) {
    const said = count(lines, line => line.includes('the @CostLimit() store'));
    const most = outage === undefined ? 0 : 1 + Math.floor(SECONDS / 60);
    if (said > most || (outage !== undefined && said === 0)) wrong.push(`${said} lines about the store`);
    const hookErrors = count(lines, line => line.includes('failed and was ignored'));
    if (hookErrors > said) wrong.push(`${hookErrors - said} lines about other faults`);
    if (lastTakeMs < (outage?.backMs ?? 0)) wrong.push('a process has not found the store again');
  }
  return wrong;
}

async function run(mode, limits) {
  const isHard = limits === 'hard';
  const isInterrupted = mode === 'memory' || mode === 'refuse';
  const redis = mode === 'postgres' ? undefined : await OwnRedis.start();
  const name = `ledger_${process.pid}_${limits}`;
  const settings = {
    store: {
      kind: mode === 'postgres' ? 'postgres' : 'redis',
      client: values.client,
      port: redis?.port,
      table: name,
    },
    plan: PLAN,
    hard: isHard ? HARD : undefined,
    onStoreFailure: isInterrupted ? mode : 'memory',
    // The machine is busy: a store that answers late is not what is looked at.
    timeoutMs: isInterrupted ? 1_000 : 5_000,
  };
  const children = Array.from(
    { length: Number(values.processes) },
    () =>
      new Child('./ledger-subject.mjs', { args: [JSON.stringify(settings)], execArgv: ['--no-warnings'] }),
  );
  try {
    const ports = (await Promise.all(children.map(child => child.answer()))).map(({ port }) => port);
    const [answers, outage] = await Promise.all([
      drive(ports, Number(values.callers), SECONDS),
      isInterrupted ? interrupt(redis) : undefined,
    ]);
    await setTimeout(SETTLED_MS);
    const processes = await Promise.all(children.map(child => child.ask('books')));
    return { ...judge(processes, answers, { isHard, mode, outage }), mode, limits };
  } finally {
    await Promise.all(children.map(child => child.end()));
    await (redis === undefined ? dropTable(name) : redis.kill());
  }
}

function judge(processes, answers, setting) {
  const { isHard, outage } = setting;
  const sums = audit(processes, PLAN, {
    mostDebt: isHard ? HARD_PRICE : undefined,
    ...outage,
  });
  const letIn = count(answers, ({ status, reason }) => status === 200 || reason === 'hard-budget');
  const wrong = [...wrongAnswers(answers, setting), ...wrongCounts(processes, answers, setting)];
  for (const account of sums.accounts.filter(({ isAbove }) => isAbove)) {
    wrong.push(`${account.user} is above: ${JSON.stringify(account.buckets)}`);
  }
  if (letIn !== sums.admitted)
    wrong.push(`${letIn} answers of requests that were let in, ${sums.admitted} records`);
  if (sums.unreserved > 0) wrong.push(`${sums.unreserved} were let in without a reservation`);
  // What was on its way to a server that was killed may be lost.
  if (outage === undefined && sums.unbalanced > 0.5) {
    wrong.push(`a caller was charged ${sums.unbalanced.toFixed(2)} points more or less than it has spent`);
  }
  return { ...sums, refused: answers.length - letIn, wrong };
}

const rows = [];
for (const mode of values.runs.split(',')) {
  for (const limits of values.limits.split(',')) {
    const result = await run(mode, limits);
    const { accounts, admitted, refused, inMemory, short, dearest, worst, unbalanced, storeMs, wrong } =
      result;
    const spent = accounts.reduce((all, account) => all + account.spent, 0);
    rows.push([
      `${mode}, ${limits}`,
      `${accounts.length}`,
      `${admitted}`,
      `${refused}`,
      `${inMemory}`,
      figure(spent, 0),
      figure(short, 0),
      figure(dearest, 0),
      `${figure(worst.spent, 0)} / ${figure(worst.most, 0)}`,
      figure(worst.share, 3),
      figure(unbalanced, 2),
      figure(storeMs, 1),
    ]);
    for (const sentence of wrong) console.error(`${mode}, ${limits}: ${sentence}`);
    if (wrong.length > 0) process.exitCode = 1;
  }
}
const header = [
  'run',
  'callers',
  'admitted',
  'refused',
  'in memory',
  'points',
  'short',
  'dearest',
  'worst caller',
  'share',
  'off',
  'store ms',
];
console.log(table(header, rows));
