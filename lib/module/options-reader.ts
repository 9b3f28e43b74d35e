import { type AsyncContextError, invalidOption } from '../kernel/errors';
import type { AsyncContextOptions } from './options';
import type { ResolvedOptions } from '../units/resolved-options';
import type { BudgetDefaults } from '../budget/budget';
import type { RequestIdOptions } from '../context/request-id';
import {
  checkFunction,
  checkObject,
  MAX_TIMER_MS,
  readBoolean,
  readShare,
  readWhole,
} from '../kernel/option-checks';
import { checkNotEmpty, readLimits } from '../budget/budget-limits';
import { defaultInstrumentations } from '../drivers/drivers';
import type { CarrierTerm } from '../propagation/carrier/carrier-term';
import { readDeadline } from '../units/deadline-options';
import { readGuards } from '../guards/guard-options';
import { readOverload } from '../guards/overload/overload-options';
import { readPropagate, type ResolvedPropagation } from '../propagation/http/propagate-options';
import { readResourceMonitorOptions } from '../detectors/resources/resource-monitor-options';

const OPTIONS = [
  'enabled',
  'requestId',
  'user',
  'budget',
  'onExceeded',
  'breachWindowMs',
  'reportsPerMinute',
  'slowAfterMs',
  'serverTiming',
  'stallMs',
  'warmUpMs',
  'lateAfterMs',
  'lostContexts',
  'poolWaitMs',
  'connectionLeakMs',
  'answerUnhandledErrors',
  'instrumentations',
  'providerCalls',
  'sinks',
  'sinkQueue',
  'resourceMonitor',
  'carrierSecret',
  'carrierMaxAgeMs',
  'carrierAudience',
  'carrierUser',
  'trustUnsignedCarriers',
  'keepAfterClose',
  'canonicalLog',
  'logFields',
  'guards',
  'overload',
  'deadline',
  'errorMessages',
  'propagate',
  'reports',
  'findings',
] as const satisfies readonly (keyof AsyncContextOptions)[];
const LOST_CONTEXTS = ['log', 'ignore'] as const;
const REQUEST_ID = ['header', 'trust', 'generate', 'responseHeader'] as const;
const SINK_QUEUE = [
  'capacity',
  'batchSize',
  'intervalMs',
  'retryDelayMs',
  'maxRetryDelayMs',
  'retryForMs',
  'sample',
] as const;
const PROPAGATE = ['hosts', 'carrier', 'sampled', 'messages', 'jobs'] as const;
const FINDINGS = ['compareValues', 'log', 'min'] as const;
const CARRIER_WAYS = ['http', 'messages', 'jobs'] as const;
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
/** A header name, https://www.rfc-editor.org/rfc/rfc9110#name-tokens */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$/;

/** 128 bits as hexadecimal text would be 32; what is shorter than half of that can be tried out. */
const MIN_SECRET_LENGTH = 16;

/** A message may wait for a broker that is away, a job for as long as its delay says. */
const CARRIER_MAX_AGE_MS = { http: 300_000, messages: 86_400_000, jobs: 2_592_000_000 } as const;
const MAX_AUDIENCE_LENGTH = 100;

const DEFAULT_HEADER = 'x-request-id';

/**
 * Checks the options and fills in the defaults.
 *
 * @throws AsyncContextError `ASYNC_CONTEXT_INVALID_OPTION` or, for a limit, `ASYNC_CONTEXT_INVALID_BUDGET`
 */
export function readOptions(options: AsyncContextOptions = {}): ResolvedOptions {
  checkObject('', options, OPTIONS);
  checkFunction('user', options.user);
  checkFunction('carrierUser', options.carrierUser);
  checkFunction('logFields', options.logFields);
  const resolved: ResolvedOptions = {
    enabled: readBoolean('enabled', options.enabled ?? true),
    requestId: readRequestId(options.requestId),
    user: options.user,
    budget: readBudget(options.budget),
    onExceeded: readOnExceeded(options.onExceeded),
    breachWindowMs: readWhole('breachWindowMs', options.breachWindowMs ?? 60_000, 0, MAX_TIMER_MS),
    reportsPerMinute: readWhole('reportsPerMinute', options.reportsPerMinute ?? 60, 2, 1_000_000),
    slowAfterMs: readWhole('slowAfterMs', options.slowAfterMs ?? 1_000, 0, MAX_TIMER_MS),
    serverTiming: readServerTiming(options.serverTiming),
    stallMs: readStallMs(options.stallMs),
    warmUpMs: readWhole('warmUpMs', options.warmUpMs ?? 10_000, 0, MAX_TIMER_MS),
    lateAfterMs: readWhole('lateAfterMs', options.lateAfterMs ?? 1_000, 0, MAX_TIMER_MS),
    lostContexts: readLostContexts(options.lostContexts),
    pools: Object.freeze({
      poolWaitMs: readWhole('poolWaitMs', options.poolWaitMs ?? 500, 0, MAX_TIMER_MS),
      connectionLeakMs: readWhole('connectionLeakMs', options.connectionLeakMs ?? 10_000, 0, MAX_TIMER_MS),
    }),
    answerUnhandledErrors: readBoolean('answerUnhandledErrors', options.answerUnhandledErrors ?? false),
    instrumentations: readInstrumentations(options.instrumentations),
    providerCalls: readBoolean('providerCalls', options.providerCalls ?? false),
    sinks: readSinks(options.sinks),
    sinkQueue: readSinkQueue(options.sinkQueue),
    resourceMonitor:
      options.resourceMonitor &&
      readResourceMonitorOptions(options.resourceMonitor, failAt('resourceMonitor')),
    carrierSecrets: readCarrierSecrets(options.carrierSecret),
    carrierTerm: readCarrierTerm(options),
    carrierUser: options.carrierUser ?? idOf,
    trustUnsignedCarriers: readBoolean('trustUnsignedCarriers', options.trustUnsignedCarriers ?? false),
    keepAfterClose: readBoolean('keepAfterClose', options.keepAfterClose ?? false),
    canonicalLog: readCanonicalLog(options.canonicalLog),
    logFields: options.logFields,
    guards: readGuards(options.guards),
    overload: readOverload(options.overload),
    deadline: readDeadline(options.deadline, checkHeader),
    errorMessages: readBoolean('errorMessages', options.errorMessages ?? false),
    propagate: readPropagation(options),
    reports: readReports(options.reports),
    findings: readFindings(options.findings),
  };
  return Object.freeze(resolved.enabled ? resolved : contextOnly(resolved));
}

/** What is left with `enabled: false`. */
function contextOnly(resolved: ResolvedOptions): ResolvedOptions {
  return {
    ...resolved,
    budget: {},
    slowAfterMs: 0,
    serverTiming: false,
    stallMs: 0,
    lateAfterMs: 0,
    pools: Object.freeze({ poolWaitMs: 0, connectionLeakMs: 0 }),
    answerUnhandledErrors: false,
    instrumentations: [],
    providerCalls: false,
    sinks: [],
    resourceMonitor: undefined,
    canonicalLog: false,
    guards: Object.freeze({ ...resolved.guards, breaker: undefined }),
    overload: undefined,
    findings: Object.freeze({ ...resolved.findings, compareValues: false, log: false }),
  };
}

function readLostContexts(
  options: AsyncContextOptions['lostContexts'] = {},
): ResolvedOptions['lostContexts'] {
  checkObject('lostContexts', options, LOST_CONTEXTS);
  const { log = true, ignore = [] } = options;
  if (typeof log !== 'boolean' && log !== 'once')
    throw invalidOption('lostContexts.log', log, "Use true, false or 'once'.");
  if (!Array.isArray(ignore) || !ignore.every(name => typeof name === 'string' && name !== ''))
    throw invalidOption('lostContexts.ignore', ignore, "Use a list of package names: ['@vendure/core'].");
  return Object.freeze({ log, ignore: Object.freeze([...ignore]) });
}

function readRequestId(options: AsyncContextOptions['requestId'] = {}): RequestIdOptions {
  checkObject('requestId', options, REQUEST_ID);
  const { header = DEFAULT_HEADER, trust = false, generate, responseHeader = DEFAULT_HEADER } = options;
  checkHeader('requestId.header', header);
  if (typeof trust !== 'boolean' && typeof trust !== 'function') {
    throw invalidOption('requestId.trust', trust, 'Use true, false or a function of the request.');
  }
  checkFunction('requestId.generate', generate);
  if (responseHeader !== false) checkHeader('requestId.responseHeader', responseHeader);
  return Object.freeze({ header, trust, generate, responseHeader });
}

function readBudget(budget: AsyncContextOptions['budget']): BudgetDefaults {
  if (budget === undefined) return {};
  checkNotEmpty(budget, failAt('budget'));
  const isDefaults =
    typeof budget === 'object' && budget !== null && ('default' in budget || 'byMethod' in budget);
  if (!isDefaults) return { default: readLimits(budget, failAt('budget')) };
  const { default: general, byMethod } = budget as BudgetDefaults;
  checkObject('budget', budget, ['default', 'byMethod']);
  if (byMethod !== undefined) checkObject('budget.byMethod', byMethod, METHODS);
  const methods = Object.entries(byMethod ?? {}).filter(([, limits]) => limits !== undefined);
  return Object.freeze({
    ...(general !== undefined && { default: readLimits(general, failAt('budget.default')) }),
    ...(methods.length > 0 && {
      byMethod: Object.fromEntries(
        methods.map(([method, limits]) => [method, readLimits(limits, failAt(`budget.byMethod.${method}`))]),
      ),
    }),
  });
}

function failAt(prefix: string): (path: string, value: unknown, remedy: string) => AsyncContextError {
  return (path, value, remedy) =>
    invalidOption(path === 'budget' ? prefix : `${prefix}.${path}`, value, remedy);
}

function readOnExceeded(value: AsyncContextOptions['onExceeded'] = 'log'): ResolvedOptions['onExceeded'] {
  if (value === 'log' || value === 'throw' || typeof value === 'function') return value;
  throw invalidOption('onExceeded', value, "Use 'log', 'throw' or a function of the breach.");
}

function readServerTiming(
  value: AsyncContextOptions['serverTiming'] = false,
): ResolvedOptions['serverTiming'] {
  if (typeof value === 'boolean' || typeof value === 'function') return value;
  throw invalidOption('serverTiming', value, 'Use true, false or a function of the request.');
}

function readCanonicalLog(
  value: AsyncContextOptions['canonicalLog'] = false,
): ResolvedOptions['canonicalLog'] {
  if (typeof value === 'boolean' || typeof value === 'function') return value;
  throw invalidOption('canonicalLog', value, 'Use true, false or a function of the record.');
}

function readStallMs(value: AsyncContextOptions['stallMs'] = 250): number {
  if (value === 0) return 0;
  // The watchdog looks 40 times a second, and must not hold a thread that is merely busy.
  return readWhole('stallMs', value, 200, MAX_TIMER_MS);
}

function readInstrumentations(
  value: AsyncContextOptions['instrumentations'] = 'auto',
): ResolvedOptions['instrumentations'] {
  if (value === 'auto') return value;
  const remedy =
    "Use 'auto', an object such as { kafkajs: false }, or a list of instrumentations such as [pgInstrumentation()].";
  if (typeof value !== 'object' || value === null) throw invalidOption('instrumentations', value, remedy);
  if (!Array.isArray(value)) return readSwitches(value as Readonly<Record<string, unknown>>);
  for (const [i, item] of value.entries()) {
    if (typeof item?.name !== 'string' || typeof item.install !== 'function') {
      throw invalidOption(`instrumentations[${i}]`, item, remedy);
    }
  }
  return Object.freeze([...value]);
}

/** All but those that are switched off by name. */
function readSwitches(switches: Readonly<Record<string, unknown>>): ResolvedOptions['instrumentations'] {
  const drivers = defaultInstrumentations();
  const names = drivers.map(({ name }) => name);
  checkObject('instrumentations', switches, names);
  for (const [name, isOn] of Object.entries(switches)) readBoolean(`instrumentations.${name}`, isOn ?? true);
  return Object.freeze(drivers.filter(({ name }) => switches[name] !== false));
}

function readSinks(value: AsyncContextOptions['sinks'] = []): ResolvedOptions['sinks'] {
  const remedy =
    'Use a list of objects with a name and a write(records) function, such as [new MemorySink()].';
  if (!Array.isArray(value)) throw invalidOption('sinks', value, remedy);
  for (const [i, item] of value.entries()) {
    if (typeof item?.name !== 'string' || typeof item.write !== 'function') {
      throw invalidOption(`sinks[${i}]`, item, remedy);
    }
  }
  return Object.freeze([...value]);
}

function readSinkQueue(options: AsyncContextOptions['sinkQueue'] = {}): ResolvedOptions['sinkQueue'] {
  checkObject('sinkQueue', options, SINK_QUEUE);
  for (const name of SINK_QUEUE) {
    const value = options[name];
    if (value === undefined) continue;
    if (name === 'sample') readShare('sinkQueue.sample', value);
    else
      readWhole(
        `sinkQueue.${name}`,
        value,
        name === 'retryForMs' ? 0 : 1,
        name.endsWith('Ms') ? MAX_TIMER_MS : 1_000_000,
      );
  }
  return Object.freeze({ ...options });
}

function readCarrierSecrets(value: AsyncContextOptions['carrierSecret']): ResolvedOptions['carrierSecrets'] {
  if (value === undefined) return undefined;
  const [first, ...others] = [value].flat() as unknown[];
  for (const secret of [first, ...others]) {
    if (typeof secret === 'string' && secret.length >= MIN_SECRET_LENGTH) continue;
    // Not the value: it may be a secret that is a character too short.
    const shown = typeof secret === 'string' ? `${secret.length} characters` : secret;
    const remedy = `Use a random text of at least ${MIN_SECRET_LENGTH} characters, or a list of such strings.`;
    throw invalidOption('carrierSecret', shown, remedy);
  }
  return Object.freeze([first, ...others]) as readonly [string, ...string[]];
}

function readCarrierTerm({ carrierMaxAgeMs, carrierAudience }: AsyncContextOptions): CarrierTerm {
  return Object.freeze({
    maxAgeMs: Object.freeze({ ...CARRIER_MAX_AGE_MS, ...readMaxAge(carrierMaxAgeMs) }),
    takesUntimed: carrierMaxAgeMs === undefined,
    audiences: readAudiences(carrierAudience),
  });
}

function readMaxAge(value: AsyncContextOptions['carrierMaxAgeMs'] = {}): Partial<CarrierTerm['maxAgeMs']> {
  const ages = typeof value === 'number' ? { http: value, messages: value, jobs: value } : value;
  checkObject('carrierMaxAgeMs', ages, CARRIER_WAYS);
  const given = Object.entries(ages).filter(([, age]) => age !== undefined);
  for (const [way, age] of given) {
    const path = typeof value === 'number' ? 'carrierMaxAgeMs' : `carrierMaxAgeMs.${way}`;
    readWhole(path, age, 0, Number.MAX_SAFE_INTEGER);
  }
  return Object.fromEntries(given);
}

function readAudiences(value: AsyncContextOptions['carrierAudience']): CarrierTerm['audiences'] {
  if (value === undefined) return undefined;
  const names = [value].flat() as unknown[];
  const [first] = names;
  for (const name of names) {
    if (typeof name === 'string' && name.length <= MAX_AUDIENCE_LENGTH && /^[ -~]*$/.test(name)) continue;
    throw invalidOption('carrierAudience', name, AUDIENCE_REMEDY);
  }
  if (first === undefined || first === '') throw invalidOption('carrierAudience', first, AUDIENCE_REMEDY);
  return Object.freeze(names) as readonly [string, ...string[]];
}

const AUDIENCE_REMEDY = `Use a name of at most ${MAX_AUDIENCE_LENGTH} ASCII characters, or a list that begins with one.`;

function readPropagation({ propagate = {}, carrierSecret }: AsyncContextOptions): ResolvedPropagation {
  checkObject('propagate', propagate, PROPAGATE);
  return readPropagate(propagate, carrierSecret !== undefined, failAt('propagate'));
}

function readFindings(options: AsyncContextOptions['findings'] = {}): ResolvedOptions['findings'] {
  checkObject('findings', options, FINDINGS);
  const { compareValues = true, log = 'warn', min = 10 } = options;
  if (log !== 'warn' && log !== false) throw invalidOption('findings.log', log, "Use 'warn' or false.");
  return Object.freeze({
    compareValues: readBoolean('findings.compareValues', compareValues),
    log,
    // Fewer runs prove nothing.
    min: readWhole('findings.min', min, 3, 1_000_000),
  });
}

function readReports(value: AsyncContextOptions['reports'] = 'short'): ResolvedOptions['reports'] {
  if (value === 'short' || value === 'full') return value;
  throw invalidOption('reports', value, "Use 'short' or 'full'.");
}

/** Who somebody is, and nothing else of them. */
function idOf(user: object): unknown {
  const { id } = user as { id?: unknown };
  if (typeof id === 'bigint') return { id: String(id) };
  return typeof id === 'string' || typeof id === 'number' ? { id } : undefined;
}

function checkHeader(path: string, value: unknown): void {
  if (typeof value === 'string' && TOKEN.test(value)) return;
  throw invalidOption(path, value, `Use a header name such as '${DEFAULT_HEADER}'.`);
}
