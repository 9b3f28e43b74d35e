import { oncePerProcess } from '../../kernel/once-per-process';
import { takeBack } from '../../kernel/take-back';
import { loadMicroservices } from './microservices';

interface Shared {
  readonly users: Set<object>;
  undo: (() => void)[];
}

/**
 * The clients of `@nestjs/microservices`, which give what they send the context of who sends it. They are
 * shared by all applications of a process: the first covers them, the last takes it back.
 *
 * Their classes, not each client: `ClientsModule`, `@Client()` and `ClientProxyFactory` make them at any
 * time. The slot of `setOnDispatchHook()` stays free for the application.
 */
export class MessageClients {
  readonly #shared = oncePerProcess<Shared>('messages', () => ({ users: new Set(), undo: [] }));

  install(): void {
    const { users } = this.#shared;
    const isFirst = users.size === 0;
    users.add(this);
    if (!isFirst) return;
    const nest = loadMicroservices();
    if (nest === undefined) return;
    const { coverClients } = require('./client-covers') as typeof import('./client-covers');
    this.#shared.undo = coverClients(nest);
  }

  uninstall(): void {
    const { users, undo } = this.#shared;
    if (!users.delete(this) || users.size > 0) return;
    this.#shared.undo = [];
    takeBack(undo);
  }
}
