import { EventLoop } from '../cost/event-loop';
import { ContextStore } from './context-store';
import { oncePerProcess, processShare } from '../kernel/once-per-process';

/** The one storage of the process, also of all copies of the package: the context of the work that runs is its store. */
export const contextStorage: ContextStore = ((processShare as { storage?: ContextStore }).storage ??=
  new ContextStore());

/** What the event loop of this process does, as all copies of the package see it. */
export const eventLoop: EventLoop = oncePerProcess(
  'loop',
  () => new EventLoop(() => contextStorage.getStore()?.time),
);
