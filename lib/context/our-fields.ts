/** What every log line of a unit of work has, in the order in which a line shows them. */
export const LINE_FIELDS = ['requestId', 'traceId', 'spanId', 'userId', 'handler'] as const;

/**
 * The other fields of the canonical line and of all reports. A field that a line has and this list has not does not
 * compile (`FieldsOfReport`): a field of the application with its name would be taken for ours where ours is absent.
 */
export const REPORT_FIELDS = [
  // The canonical line.
  'kind',
  'http.route',
  'route',
  'method',
  'status',
  'durationMs',
  'queries',
  'rows',
  'databaseMs',
  'cache',
  'httpCalls',
  'messages',
  'remoteQueries',
  'remoteRows',
  'owner',
  'parentRequestId',
  'aborted',
  'slow',
  'breaches',
  // A report of a unit of work.
  'report',
  'because',
  'culprits',
  'poolMs',
  'httpMs',
  'cacheMs',
  'messagesMs',
  'slotMs',
  'ownMs',
  'stalledMs',
  'unknownMs',
  'starvedMs',
  'otherMs',
  'blockedMs',
  'at',
  'cause',
  'evidence',
  'exceededAt',
  'fix',
  'fingerprint',
  'suppressed',
  // With `reports: 'full'`.
  'shapes',
  'writes',
  'transactions',
  'errors',
  'databaseShare',
  'maxConcurrent',
  'waitMs',
  // A pool: a wait, and a connection that was not released.
  'driver',
  'waitedMs',
  'stalledBy',
  'asksAt',
  'stillMs',
  'size',
  'held',
  'waiting',
  'own',
  'ownWaiting',
  'outlivedMs',
  'heldMs',
  'acquiredAt',
  'state',
  'shape',
  // The event loop.
  'cpuMs',
  'stack',
  // Work after the end, unhandled errors and open resources.
  'lateMs',
  'what',
  'origin',
  'outcome',
  'endsProcess',
  'type',
  'callSite',
  'count',
  'oldestMs',
  'sample',
  // Guards.
  'by',
  'reason',
  'dryRun',
  'policy',
  'burst',
  'restorePerSecond',
  'per',
  'needed',
  'left',
  'known',
  'slots',
  'maxHoldMs',
  'ms',
  'requests',
  'failures',
  'connectionsMs',
  'arrivals',
  'delayMs',
  'poolWaitMs',
  'shed',
  // A failing sink.
  'records',
  // Suppressed reports.
  'heldBack',
] as const;

/** What comes before the dot of a field that there are several of: `used.queries`, `top1.shape`. */
export type FieldGroup =
  'used' | 'limit' | 'from' | 'error' | `${'top' | 'finding' | 'calls' | 'holder' | 'held'}${number}`;

/** A field of the canonical line or of a report. */
export type OurField =
  (typeof LINE_FIELDS)[number] | (typeof REPORT_FIELDS)[number] | `${FieldGroup}.${string}`;

/** Fields of a report beside its headline; `undefined` values are omitted. */
export type FieldsOfReport = Readonly<{ [name in OurField]?: unknown }>;

const OURS: ReadonlySet<string> = new Set([...LINE_FIELDS, ...REPORT_FIELDS]);
/** As values, Elasticsearch would refuse them beside `http.route` and the others. */
const BEGINNINGS: ReadonlySet<string> = new Set(['used', 'limit', 'from', 'error', 'http']);
const GROUPED = /^(?:used|limit|from|error)\.|^(?:top|finding|calls|holder|held)\d+(?:\.|$)/;

/**
 * Whether a field of this name is one of the canonical line or of a report, or would make an object of one of these,
 * or a value of an object that they have.
 */
export function isOurField(name: string): boolean {
  if (OURS.has(name) || BEGINNINGS.has(name) || GROUPED.test(name)) return true;
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
    if (OURS.has(name.slice(0, dot))) return true;
  }
  return false;
}
