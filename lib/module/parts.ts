/**
 * Parts that only some applications have: with an option, or with GraphQL. Each is loaded by a literal `require()`,
 * which a bundler finds, when it is asked for: some 20 of 270 files.
 */
export const parts = {
  overloadMonitor: () =>
    require('../guards/overload/overload-monitor') as typeof import('../guards/overload/overload-monitor'),
  overloadEntry: () => require('../entry/overload.entry') as typeof import('../entry/overload.entry'),
  graphql: () => require('../entry/graphql.entry') as typeof import('../entry/graphql.entry'),
  propagation: () =>
    require('../propagation/http/http-propagation') as typeof import('../propagation/http/http-propagation'),
  tracer: () =>
    require('../detectors/calls/provider-tracer') as typeof import('../detectors/calls/provider-tracer'),
};
