import { isBundled } from '../kernel/own-files';
import type { DriverInstrumentation } from './driver-instrumentation';
import { isGiven } from '../kernel/given-modules';
import { isInstalled } from '../kernel/loaded-copies';
import { loadedFiles } from '../kernel/loaded-files';

/** A driver as it is known before its file is loaded. */
export interface LazyDriver {
  readonly name: string;
  /** Those that it covers, of which one has to be loaded, or given; without them it is always installed. */
  readonly packages?: readonly string[];
  /** Whether it is enough that they are installed: no cache lists their ES module builds. */
  readonly hasModuleBuild?: true;
  /** Its file, by a literal `require()`, which a bundler finds. */
  readonly load: () => DriverInstrumentation;
}

/** The built-in modules that Node has loaded; not documented, and there in all versions. */
const { moduleLoadList = [] } = process as { readonly moduleLoadList?: readonly string[] };

/** An instrumentation whose file is loaded when there is something to install: 2 of 20 of an application on `pg`. */
export function lazyDriver(driver: LazyDriver): DriverInstrumentation {
  let loaded: DriverInstrumentation | undefined;
  return {
    name: driver.name,
    install(reporter) {
      if (loaded === undefined && !isThere(driver)) return undefined;
      loaded ??= driver.load();
      return loaded.install(reporter);
    },
  };
}

function isThere({ packages, hasModuleBuild }: LazyDriver): boolean {
  if (packages === undefined || isBundled) return true;
  return packages.some(
    name => isLoaded(name) || isGiven(name) || (hasModuleBuild === true && isInstalled(name)),
  );
}

function isLoaded(name: string): boolean {
  return name.startsWith('node:')
    ? moduleLoadList.includes(`NativeModule ${name.slice('node:'.length)}`)
    : loadedFiles(name).length > 0;
}
