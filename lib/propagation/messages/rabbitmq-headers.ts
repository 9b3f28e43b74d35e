import { replaceMethod } from '../../kernel/method-replacement';
import { withFields } from './carrier-fields';
import type { Microservices } from './microservices';

type Headers = Readonly<Record<string, unknown>>;
type MergeHeaders = (this: unknown, headers?: Headers) => Headers | undefined;

/** A message of RabbitMQ has headers beside its content. */
export function coverRabbitMq({ ClientRMQ }: Microservices): (() => void)[] {
  if (ClientRMQ === undefined) return [];
  return replaceMethod<MergeHeaders>(ClientRMQ.prototype, 'mergeHeaders', original => {
    return function mergeHeaders(headers) {
      return withFields(original.call(this, headers));
    };
  });
}
