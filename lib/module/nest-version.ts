import { createRequire } from 'node:module';
import { AsyncContextError } from '../kernel/errors';

/** The first version of Nest that this package supports, and the last major one. */
const FIRST: readonly [major: number, minor: number, patch: number] = [11, 1, 6];
const LAST_MAJOR = 12;

/** What is wrong with a version of Nest that was forced in; `undefined` for one that is supported. */
export function unsupportedNest(version: string | undefined): string | undefined {
  const [major, minor, patch = Infinity] = (version ?? '').split('.').map(Number);
  if (major === undefined || minor === undefined || Number.isNaN(major) || Number.isNaN(minor)) {
    return undefined;
  }
  const isTooOld =
    major < FIRST[0] ||
    (major === FIRST[0] && (minor < FIRST[1] || (minor === FIRST[1] && patch < FIRST[2])));
  if (!isTooOld && major <= LAST_MAJOR) return undefined;
  return (
    `@nestjs/core ${version} is installed, but nestjs-async-context supports ${FIRST[0]} from ${FIRST.join('.')} on, ` +
    `and ${LAST_MAJOR}. Contexts and counts may be missing or wrong. Install a supported version of Nest, ` +
    'or a version of nestjs-async-context that supports this one.'
  );
}

/** The version of Nest that this package has found; `undefined` where that cannot be known, as in a bundle. */
export function foundNest(): { readonly version: string; readonly path: string } | undefined {
  try {
    const load = createRequire(__filename);
    const path = load.resolve('@nestjs/core/package.json');
    return { version: (load(path) as { version: string }).version, path };
  } catch {
    return undefined;
  }
}

/** The application runs on another copy of Nest than this package. */
export function otherNest(): AsyncContextError {
  const found = foundNest();
  const where = found === undefined ? 'its own copy' : `version ${found.version} (${found.path})`;
  return new AsyncContextError(
    'ASYNC_CONTEXT_OTHER_NEST',
    `two copies of @nestjs/core are installed: nestjs-async-context found ${where}, but the application ` +
      'runs on another one. Add @nestjs/common and @nestjs/core to the dependencies of the application, in the ' +
      'version that it runs on, and reinstall: npm ls @nestjs/core shows which packages bring each copy.',
  );
}
