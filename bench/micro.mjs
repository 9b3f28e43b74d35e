/**
 * Single operations: reading the context, counting one query, a request of 30,000 queries.
 * Run by run.mjs, once per Node, in one child process: two processes that run the same code differ
 * by more than what is sought.
 */
import { Child } from './child.mjs';
import { median } from './statistics.mjs';
import { figure, signed, table } from './table.mjs';

const READS = 20_000_000;
const QUERIES = 20_000;
const REQUEST_SIZES = [1_000, 10_000, 30_000];

/** The median of each field. */
function medians(answers) {
  const fields = Object.keys(answers[0]);
  return Object.fromEntries(fields.map(field => [field, median(answers.map(answer => answer[field]))]));
}

/** Asks each question in turn, `rounds` times after two to warm up. */
async function inTurn(subject, rounds, questions) {
  const asked = Object.entries(questions);
  const answers = Object.fromEntries(asked.map(([name]) => [name, []]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, question] of round % 2 === 0 ? asked : asked.toReversed()) {
      const answer = await subject.ask(question);
      if (round >= 0) answers[name].push(answer);
    }
  }
  return answers;
}

const allMedians = answers =>
  Object.fromEntries(Object.entries(answers).map(([name, list]) => [name, medians(list)]));

async function measureOperations(subject, rounds) {
  const answers = await inTurn(subject, rounds, {
    getStore: { measure: 'getStore', times: READS },
    requestId: { measure: 'requestId', times: READS },
    counting: { measure: 'counting', times: QUERIES },
  });
  return allMedians(answers);
}

/** One request of so many queries: counted, and not counted in the same round. */
async function measureRequest(subject, rounds, queries, shapes) {
  const answers = await inTurn(subject, rounds, {
    uncounted: { measure: 'uncounted', times: queries, shapes },
    counted: { measure: 'counted', times: queries, shapes },
  });
  const added = answers.counted.map(({ nanos }, round) => nanos - answers.uncounted[round].nanos);
  return { queries, shapes, addedNanos: median(added), ...allMedians(answers) };
}

async function measureRequests(subject, rounds) {
  const requests = [];
  for (const distinct of [false, true]) {
    for (const queries of REQUEST_SIZES) {
      requests.push(await measureRequest(subject, rounds, queries, distinct ? queries : 1));
    }
  }
  return requests;
}

function printOperations({ getStore, requestId, counting }) {
  const rows = [
    ['storage.getStore()', figure(getStore.nanos, 1), ''],
    ['contextService.requestId', figure(requestId.nanos, 1), signed(requestId.nanos - getStore.nanos, 1)],
    ['query on the stub, not counted', figure(counting.uncounted, 0), ''],
    ['query on the stub, counted', figure(counting.nanos, 0), signed(counting.added, 0)],
  ];
  console.log(table(['operation', 'ns', 'added ns'], rows));
}

function printRequests(requests) {
  const rows = requests.map(({ queries, shapes, counted, uncounted, addedNanos }) => [
    `${queries} queries, ${shapes === 1 ? 'one shape' : 'each its own shape'}`,
    figure(uncounted.nanos, 0),
    figure(counted.nanos, 0),
    signed(addedNanos, 0),
    figure(counted.recordBytes, 0),
  ]);
  const header = ['one request of', 'ns/query, not counted', 'counted', 'counting adds', 'record bytes'];
  console.log(table(header, rows));
}

export async function runMicro({ execPath, version, quick, skip }) {
  const rounds = quick ? 5 : 9;
  const subject = new Child('./micro-subject.mjs', { execPath, execArgv: ['--no-warnings'] });
  try {
    const { unavailable } = await subject.answer();
    if (unavailable) {
      skip(`single operations: ${unavailable}`);
      return undefined;
    }
    console.log(`\n### single operations, Node ${version} (medians of ${rounds})\n`);
    const operations = await measureOperations(subject, rounds);
    printOperations(operations);
    const requests = await measureRequests(subject, rounds);
    console.log();
    printRequests(requests);
    return { operations, requests };
  } finally {
    await subject.end();
  }
}
