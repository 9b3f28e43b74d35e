import { Logger } from '@nestjs/common';
import { oncePerProcess } from '../kernel/once-per-process';
import { isFirstProtocol } from '../kernel/protocol';
import { isBundled } from '../kernel/own-files';
import type { HookErrorReporter } from '../reporting/hook-error-reporter';
import { LostContexts } from '../detectors/lost-contexts/lost-contexts';
import type { PoolLimits } from '../cost/pool-wait';
import { poolWatch } from '../detectors/pools/pool-watch';
import type { Attribution } from '../record/process-figures';
import { type AttributionFigures, summarize } from '../instrumentation/attribution';
import { ContextQueryReporter } from '../instrumentation/context-query-reporter';
import type { DriverInstrumentation, QueryReporter } from '../instrumentation/driver-instrumentation';
import { defaultInstrumentations } from '../drivers/drivers';
import { loadedFiles, lookingOnce } from '../kernel/loaded-files';
import { everyOrm } from '../drivers/orms';
import { unsupportedClients } from '../instrumentation/supported-versions';

interface Installed {
  readonly users: Set<object>;
  readonly undo: (() => void)[];
}

interface Shared {
  readonly lost: LostContexts;
  readonly installed: Map<string, Installed>;
  readonly attribution: Map<string, AttributionFigures>;
}

/** Instrumentations that count nothing themselves. */
const HELPERS: ReadonlySet<string> = new Set(['tarn', 'dataloader']);
/** Those that are installed without their client: they listen to its channels, or to a package that others use too. */
const INSTALLED_ANYWAY: ReadonlySet<string> = new Set(['mysql2', '@aws-sdk/client-dynamodb']);

/** Drivers are shared by all applications of a process: the first installs, the last takes back. */
export class Instrumentations {
  readonly #logger = new Logger('AsyncContext');
  readonly #hookErrors: HookErrorReporter;
  readonly #shared = oncePerProcess<Shared>('instrumentations', () => ({
    lost: new LostContexts(),
    installed: new Map(),
    attribution: new Map(),
  }));
  readonly #wanted: readonly DriverInstrumentation[];
  /** What is called above the drivers that are wanted; nothing is counted there. */
  readonly #orms: readonly DriverInstrumentation[];
  readonly #pools = poolWatch();
  readonly #poolLimits: PoolLimits;
  readonly #said = new Set<string>();

  constructor(
    wanted: readonly DriverInstrumentation[] | 'auto',
    poolLimits: PoolLimits,
    hookErrors: HookErrorReporter,
  ) {
    this.#hookErrors = hookErrors;
    this.#wanted = wanted === 'auto' ? defaultInstrumentations() : wanted;
    this.#orms = this.#wanted.length === 0 ? [] : everyOrm();
    this.#poolLimits = poolLimits;
  }

  get lost(): LostContexts {
    return this.#shared.lost;
  }

  get attribution(): Attribution {
    return summarize(this.#shared.attribution);
  }

  /**
   * Installs what is not yet; called again later it also finds the drivers that were loaded since.
   * One that fails is reported and left out. Beside a copy of the package that it cannot work with, drivers
   * are that one's.
   */
  install(): void {
    if (!isFirstProtocol) return;
    this.#pools.use(this, this.#poolLimits);
    lookingOnce(() => this.#installAll());
  }

  #installAll(): void {
    this.#sayUnsupported();
    for (const instrumentation of this.#wanted)
      this.#installOne(instrumentation, this.#reporterOf(instrumentation.name));
    for (const orm of this.#orms) this.#installOne(orm, this.#reporterFor(orm.name, noFigures()));
  }

  #installOne(instrumentation: DriverInstrumentation, reporter: QueryReporter): void {
    const { name } = instrumentation;
    const installed = this.#shared.installed.get(name) ?? { users: new Set(), undo: [] };
    this.#shared.installed.set(name, installed);
    installed.users.add(this);
    const undo: unknown = this.#hookErrors.ask(`instrumentation ${name}`, () =>
      instrumentation.install(reporter),
    );
    if (typeof undo === 'function') installed.undo.push(undo as () => void);
  }

  /** The same, unless the application has been closed since it was asked for. */
  installLoaded(): void {
    const isInUse = this.#wanted.some(({ name }) => this.#shared.installed.get(name)?.users.has(this));
    if (isInUse) this.install();
  }

  /**
   * What is wrong where a bundler has put all packages into one file: there no driver is found, but for those
   * that publish diagnostics channels and those that were given.
   */
  get warning(): string | undefined {
    if (!isBundled) return undefined;
    const isFound = ({ name }: DriverInstrumentation): boolean =>
      (this.#shared.installed.get(name)?.undo.length ?? 0) > 0;
    const missing = this.#wanted.filter(one => !isFound(one)).map(({ name }) => name);
    if (missing.length === 0) return undefined;
    const found = this.#wanted.filter(isFound).map(({ name }) => name);
    return (
      'nestjs-async-context is part of a bundle, where it cannot find drivers. ' +
      `It counts the calls of ${found.join(', ') || 'none'}, but not those of ${missing.join(', ')}. ` +
      'Pass it the modules that you use, forRoot({ instrumentations: [pgInstrumentation(pg), …] }), ' +
      'or keep packages out of the bundle (esbuild --packages=external, webpack-node-externals).'
    );
  }

  /** The clients whose calls are counted, as far as they are loaded by now. */
  get counted(): string[] {
    return this.#wanted
      .map(({ name }) => name)
      .filter(name => (this.#shared.installed.get(name)?.undo.length ?? 0) > 0)
      .filter(name => !HELPERS.has(name) && (!INSTALLED_ANYWAY.has(name) || loadedFiles(name).length > 0));
  }

  uninstall(): void {
    this.#pools.leave(this);
    for (const { name } of [...this.#wanted, ...this.#orms]) {
      const installed = this.#shared.installed.get(name);
      installed?.users.delete(this);
      if (installed === undefined || installed.users.size > 0) continue;
      this.#shared.installed.delete(name);
      for (const undo of installed.undo.toReversed()) this.#hookErrors.guard(`instrumentation ${name}`, undo);
    }
  }

  #sayUnsupported(): void {
    for (const { driver, message } of unsupportedClients()) {
      if (this.#said.has(message) || !this.#wanted.some(({ name }) => name === driver)) continue;
      this.#said.add(message);
      this.#logger.warn(message);
    }
  }

  #reporterOf(name: string): ContextQueryReporter {
    const { attribution } = this.#shared;
    let figures = attribution.get(name);
    if (figures === undefined) attribution.set(name, (figures = noFigures()));
    return this.#reporterFor(name, figures);
  }

  #reporterFor(name: string, figures: AttributionFigures): ContextQueryReporter {
    return new ContextQueryReporter(name, figures, this.#shared.lost, this.#hookErrors, this.#pools);
  }
}

function noFigures(): AttributionFigures {
  return { charged: 0, late: 0, lost: 0 };
}
