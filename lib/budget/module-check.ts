import { Logger } from '@nestjs/common';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { oncePerProcess } from '../kernel/once-per-process';

/** https://nodejs.org/docs/latest-v20.x/api/diagnostics_channel.html#http */
const REQUEST = 'http.server.request.start';

interface State {
  hasModule: boolean;
  /** While the first request is waited for, by whichever copy of the package has seen a budget first. */
  stopWatching: (() => void) | undefined;
}

const state = oncePerProcess<State>('module check', () => ({ hasModule: false, stopWatching: undefined }));

/** Says that the application imports `AsyncContextModule`: its budgets are in force. */
export function noteModule(): void {
  state.hasModule = true;
  state.stopWatching?.();
}

/**
 * Says that a budget is declared. Where the process then serves a request without the module, one warning says so.
 * Not in tests: a spec may have a controller alone, and another one in the same process serves requests.
 */
export function noteBudget(where: string): void {
  if (state.hasModule || state.stopWatching !== undefined || process.env['NODE_ENV'] === 'test') return;
  const onRequest = (): void => {
    state.stopWatching?.();
    if (state.hasModule) return;
    state.hasModule = true;
    try {
      warn(where);
    } catch {
      // What throws in a channel ends the process: a logger of the application may.
    }
  };
  state.stopWatching = () => {
    state.stopWatching = undefined;
    unsubscribe(REQUEST, onRequest);
  };
  subscribe(REQUEST, onRequest);
}

function warn(where: string): void {
  new Logger('QueryBudget').warn(
    `@QueryBudget on ${where} has no effect: the application does not import AsyncContextModule. ` +
      'Add AsyncContextModule.forRoot() to the imports of the root module',
  );
}
