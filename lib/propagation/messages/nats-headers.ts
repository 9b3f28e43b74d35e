import { replaceMethod } from '../../kernel/method-replacement';
import { fieldsToSend } from './carrier-fields';
import type { Microservices } from './microservices';

/** `MsgHdrs` of `nats` and of `@nats-io/nats-core`. */
interface MessageHeaders {
  keys(): string[];
  values(name: string): string[];
  get(name: string): string;
  append(name: string, value: string): void;
  delete(name: string): void;
}

interface Client {
  readonly options?: { readonly headers?: Readonly<Record<string, string>> };
}

type MergeHeaders = (this: Client, headers?: MessageHeaders) => MessageHeaders | undefined;

/** NATS has headers of its own, which are what its handlers are given. */
export function coverNats({ ClientNats }: Microservices): (() => void)[] {
  if (ClientNats === undefined) return [];
  return replaceMethod<MergeHeaders>(ClientNats.prototype, 'mergeHeaders', original => {
    return function mergeHeaders(headers) {
      return merge(original, this, headers) ?? original.call(this, headers);
    };
  });
}

function merge(original: MergeHeaders, client: Client, theirs?: MessageHeaders): MessageHeaders | undefined {
  try {
    const fixed = client.options?.headers ?? {};
    const fields = fieldsToSend(name => theirs?.get(name) || fixed[name]);
    if (fields.length === 0) return undefined;
    // Nest makes them, and knows of which package; into those of a record it would write, and the
    // application may send that record again.
    const options = { ...client.options, headers: { ...Object.fromEntries(fields), ...fixed } };
    const merged = original.call({ options });
    for (const name of theirs?.keys() ?? []) {
      merged?.delete(name);
      for (const value of theirs?.values(name) ?? []) merged?.append(name, value);
    }
    return merged;
  } catch {
    // A value that NATS takes for no header: the message is sent without.
    return undefined;
  }
}
