import { Logger } from '@nestjs/common';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { oncePerProcess } from '../kernel/once-per-process';

/** https://nodejs.org/docs/latest-v20.x/api/diagnostics_channel.html#http */
const REQUEST = 'http.server.request.start';

const state = oncePerProcess('module check', () => ({ hasModule: false, isWatching: false }));
let firstBudget = '';

/** Says that the application imports `AsyncContextModule`: its budgets are in force. */
export function noteModule(): void {
  state.hasModule = true;
  stopWatching();
}

/** Says that a budget is declared. Where the process then serves a request without the module, one warning says so. */
export function noteBudget(where: string): void {
  if (state.hasModule || state.isWatching) return;
  state.isWatching = true;
  firstBudget = where;
  subscribe(REQUEST, warn);
}

function warn(): void {
  stopWatching();
  if (state.hasModule) return;
  state.hasModule = true;
  new Logger('QueryBudget').warn(
    `@QueryBudget on ${firstBudget} has no effect: the application does not import AsyncContextModule. ` +
      'Add AsyncContextModule.forRoot() to the imports of the root module',
  );
}

function stopWatching(): void {
  if (!state.isWatching) return;
  state.isWatching = false;
  unsubscribe(REQUEST, warn);
}
