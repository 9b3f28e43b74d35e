import { setTimeout as wait } from 'node:timers/promises';
import { WebSocket } from 'ws';

const ANSWER_WITHIN_MS = 10_000;

type Send = (url: string) => Promise<unknown>;

/** What the clients of a shop do, and how often in a minute. */
const MINUTE: readonly [times: number, send: Send][] = [
  [240, get('/orders?count=20')],
  [30, get('/orders/one-by-one?count=60')],
  [12, get('/reports/items-by-fetching')],
  [60, get('/reports/items')],
  [60, get('/customers/7')],
  [6, get('/customers/0')],
  [12, get('/reports/monthly')],
  [12, get('/shipping/quotes?count=8')],
  [3, get('/shipping/labels?count=30')],
  [30, post('/orders', { customerId: 7, productIds: [1, 2, 3] })],
  [1, get('/slow/rendering?ms=1100')],
  [2, get('/slow/reservation?ms=1100')],
  [6, get('/orders/export.csv')],
  [6, get('/orders/live')],
  [2, get('/orders/broken')],
  [12, get('/no/such/page')],
  [12, get('/orders?count=many')],
  [30, post('/graphql', { query: '{ latest(count: 8) { id customer items { product quantity } } }' })],
  [12, get('/guarded/payroll')],
  [24, get('/guarded/search?count=25')],
  [6, atOnce(4, get('/guarded/export'))],
  [3, post('/guarded/import?count=60', {})],
  [60, message('items', 42)],
  [6, leaveEarly('/orders/live')],
];

export interface Sent {
  readonly sent: number;
  readonly unanswered: number;
}

/** Sends a minute's worth of requests, evenly, in so many milliseconds, or until it is to stop. */
export async function sendMinute(url: string, withinMs: number, stop: AbortSignal): Promise<Sent> {
  const requests = MINUTE.flatMap(([times, send]) =>
    Array.from({ length: times }, (_, i) => ({ at: ((i + 0.5) / times) * withinMs, send })),
  ).sort((a, b) => a.at - b.at);
  const begin = Date.now();
  const answers: Promise<unknown>[] = [];
  let unanswered = 0;
  for (const { at, send } of requests) {
    const early = begin + at - Date.now();
    if (early > 0) await wait(early, undefined, { signal: stop }).catch(() => undefined);
    if (stop.aborted) break;
    answers.push(send(url).catch(() => (unanswered += 1)));
  }
  await Promise.all(answers);
  return { sent: answers.length, unanswered };
}

function request(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
}

function get(path: string): Send {
  return async url => (await request(url + path, { headers: { 'x-user': 'ada' } })).text();
}

function post(path: string, body: unknown): Send {
  const init = { method: 'POST', headers: { 'content-type': 'application/json', 'x-user': 'ada' } };
  return async url => (await request(url + path, { ...init, body: JSON.stringify(body) })).text();
}

/** So many clients who want the same at the same moment. */
function atOnce(clients: number, send: Send): Send {
  return url => Promise.all(Array.from({ length: clients }, () => send(url)));
}

/** A client that does not wait for the end of the answer. */
function leaveEarly(path: string): Send {
  return async url => {
    const leave = new AbortController();
    setTimeout(() => leave.abort(), 150);
    await fetch(url + path, { signal: leave.signal })
      .then(response => response.text())
      .catch(() => undefined);
  };
}

function message(event: string, data: unknown): Send {
  return url =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/live`);
      socket.on('open', () => socket.send(JSON.stringify({ event, data })));
      socket.on('message', answer => {
        resolve(answer);
        socket.close();
      });
      socket.on('close', () => reject(new Error('closed without an answer')));
      setTimeout(() => socket.close(), ANSWER_WITHIN_MS).unref();
      socket.on('error', reject);
    });
}
