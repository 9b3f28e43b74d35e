import { Report } from '../../reporting/report-text';
import type { LeftOpen } from './resource-ledger';
import { RESOURCE_RULES } from './resource-types';

/** Report of resources that were left open. */
export class ResourceLeakReport extends Report {
  constructor(left: LeftOpen, sample: number) {
    const fix = fixOf(left);
    const { handler, type, callSite, count, oldestMs } = left;
    super(
      headlineOf(left),
      [
        ['fix', fix],
        ['sampled', `${share(sample)} of units of work`],
      ],
      { handler, type, callSite, count, oldestMs, sample, fix },
    );
  }
}

function headlineOf({ handler, type, callSite, count, oldestMs, dueInMs, isAnswered }: LeftOpen): string {
  const { plural } = RESOURCE_RULES[type];
  const what = count === 1 ? type.replace('-', ' ') : plural;
  const due = dueInMs === undefined ? '' : `, the last due in ${seconds(dueInMs)} s`;
  const end = isAnswered ? 'response' : 'end';
  return (
    `${handler} left ${count.toLocaleString('en-US')} ${what} open, the oldest for ${seconds(oldestMs)} s ` +
    `after its ${end}${due}, created at ${callSite}`
  );
}

function fixOf({ type, isRepeated }: LeftOpen): string {
  const remedy = `${RESOURCE_RULES[type].remedy}, for example in contextService.onClose()`;
  return isRepeated
    ? remedy
    : `${remedy}; if all requests share it, create it in onModuleInit() or in resourceMonitor.exempt(fn)`;
}

function seconds(ms: number): string {
  return (ms / 1_000).toLocaleString('en-US', { maximumFractionDigits: 1 });
}

function share(sample: number): string {
  return `${(sample * 100).toLocaleString('en-US', { maximumSignificantDigits: 2 })} %`;
}
