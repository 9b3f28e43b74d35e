import { contextStorage } from '../context/context-storage';
import type { Captured } from '../context/context-store';
import { bindContext, listen } from '../context/channels';

// On the message that a driver hands from event to event: a WeakMap costs 125 ns more a query.
const CALL = Symbol('nestjs-async-context.call');

interface Call {
  readonly captured: Captured;
  end: ((failed: boolean, result: unknown) => void) | undefined;
}

/** A message of a tracing channel, https://nodejs.org/docs/latest-v20.x/api/diagnostics_channel.html#class-tracingchannel */
interface Message {
  [CALL]?: Call;
  readonly result?: unknown;
  readonly error?: unknown;
}

/**
 * Begins something where a driver publishes its start, and ends it where it publishes the outcome,
 * whatever runs then. What the driver calls back is run in the context of the start.
 */
export function traceCalls<M extends object>(
  owner: string,
  channel: string,
  begin: (message: M) => Call['end'],
): (() => void)[] {
  const settle = (message: Message, failed: boolean): void => {
    const call = message[CALL];
    const end = call?.end;
    if (call === undefined || end === undefined) return;
    // An error is published first, and then the call back.
    call.end = undefined;
    // Published by whoever runs now, such as the request that closes the pool.
    if (failed) contextStorage.run(call.captured, end, true, undefined);
    else end(false, message.result);
  };
  return [
    ...listen<M & Message>(owner, `tracing:${channel}:start`, message => {
      const call: Call = { captured: contextStorage.capture(), end: undefined };
      message[CALL] = call;
      call.end = begin(message);
    }),
    // Before the callback: what it does is no part of the query.
    ...listen<Message>(owner, `tracing:${channel}:asyncStart`, message => settle(message, false)),
    ...listen<Message>(owner, `tracing:${channel}:error`, message => settle(message, true)),
    ...bindContext<Message>(owner, `tracing:${channel}:asyncStart`, message =>
      message[CALL] === undefined ? contextStorage.capture() : message[CALL].captured,
    ),
  ];
}
