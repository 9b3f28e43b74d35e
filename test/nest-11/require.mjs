// What vitest.config.mts does for `import`, for the `require()` of lib/: it finds Nest 11.
import Module, { createRequire } from 'node:module';

const manifest = createRequire(import.meta.url).resolve('./package.json');
const names = Object.keys(createRequire(manifest)(manifest).dependencies);
const resolveFilename = Module._resolveFilename;

Module._resolveFilename = function (request, parent, isMain, options) {
  const ours = names.some(name => request === name || request.startsWith(`${name}/`));
  const inside = parent?.filename?.startsWith(import.meta.dirname) === true;
  const asked = ours && !inside ? createRequire(manifest).resolve(request) : request;
  return resolveFilename.call(this, asked, parent, isMain, options);
};
