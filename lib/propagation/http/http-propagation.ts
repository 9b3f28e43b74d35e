import { oncePerProcess } from '../../kernel/once-per-process';
import { takeBack } from '../../kernel/take-back';
import { propagateNodeHttp } from './node-http-propagation';
import { propagateUndici } from './undici-propagation';

interface Shared {
  readonly users: Set<object>;
  readonly undo: (() => void)[];
}

/**
 * Hears of the requests of all applications of the process; each has its own hosts. The first application
 * that propagates installs it, the last takes it back.
 */
export class HttpPropagation {
  readonly #shared = oncePerProcess<Shared>('propagation', () => ({ users: new Set(), undo: [] }));
  readonly #warn: (message: string) => void;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /** Called again, it finds the copies of `undici` that were loaded since. */
  install(): void {
    this.#shared.users.add(this);
    this.#shared.undo.push(...propagateUndici(this.#warn), ...propagateNodeHttp());
  }

  /** The same, unless it was taken back. */
  installLoaded(): void {
    if (this.#shared.users.has(this)) this.install();
  }

  uninstall(): void {
    this.#shared.users.delete(this);
    if (this.#shared.users.size > 0) return;
    takeBack(this.#shared.undo.splice(0));
  }
}
