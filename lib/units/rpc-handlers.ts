import { isObservable } from 'rxjs';
import type { RequestContext } from '../context/request-context';
import type { PacketServer } from '../propagation/messages/arrived-metadata';
import { arrivingStream } from '../propagation/messages/arriving-stream';
import { closeWithCall, grpcMethod } from '../propagation/messages/grpc-call';
import { arrivedCarrier, prepareArrivals } from '../propagation/messages/message-arrival';
import { runToEnd } from './settle';
import type { UnitsOfWork } from './units-of-work';

type MessageCallback = ((...args: unknown[]) => unknown) & { next?: unknown };

/** A server of `@nestjs/microservices`, and the handlers that Nest has put on it. */
export interface MessageServer extends PacketServer {
  readonly messageHandlers: Map<string, MessageCallback>;
}

/** Opens a unit of work for each message that a server hands to one of its handlers. */
export function coverHandlers(server: MessageServer, units: UnitsOfWork): void {
  const close = (context: RequestContext): void => units.close(context);
  if (units.carriesOnMessages) prepareArrivals(server);
  for (const [pattern, callback] of server.messageHandlers) {
    const grpc = grpcMethod(pattern);
    const route = grpc?.route ?? pattern;
    const covered: MessageCallback = (...args) => {
      const context = units.open('rpc');
      context.route = route;
      if (grpc !== undefined) units.incomingDeadline.readCall(context, args);
      const carrier = units.carriesOnMessages ? arrivedCarrier(args) : undefined;
      const within = carrier === undefined ? undefined : units.adopt(context, carrier, 'messages');
      const [message] = args;
      if (isObservable(message)) args[0] = arrivingStream(message);
      const end = grpc === undefined ? close : closeWithCall(grpc, args, context, close);
      const handle = (): unknown => callback(...args);
      return runToEnd(context, within === undefined ? handle : () => within(handle), end);
    };
    server.messageHandlers.set(pattern, Object.assign(covered, callback));
  }
}
