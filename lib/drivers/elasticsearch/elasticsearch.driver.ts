import type { DriverInstrumentation, QueryReporter } from '../../instrumentation/driver-instrumentation';
import type { QueryHandle } from '../../cost/query-handle';
import { installedBuilds, loadedCopies } from '../../kernel/loaded-copies';
import { prototypesOf, replaceMethod, replaceMethods } from '../../kernel/method-replacement';
import { takingBack } from '../../kernel/take-back';
import { describeRequest, type TransportParams } from './elasticsearch-operation';
import { rowsOfBody } from './elasticsearch-rows';
import { bodyLength } from '../http/http-call';

type Request = (this: unknown, params: TransportParams, options?: { meta?: boolean }) => Promise<unknown>;
type OnResponse = (this: unknown, context: { params: object }, result: Answer) => unknown;

interface Answer {
  readonly body?: unknown;
  readonly statusCode?: number;
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** By the parameters of a request: its responses are seen by the middleware alone, or not at all. */
const received = new WeakMap<object, { bytes: number }>();

/** What `elasticsearchInstrumentation()` of the package installs. */
export function elasticsearchInstrumentation(): DriverInstrumentation {
  return {
    name: '@elastic/elasticsearch',
    install(reporter) {
      const undo = [
        ...coverTransports(transports(), reporter),
        ...engines().flatMap(engine => replaceMethod<OnResponse>(engine, 'executeOnResponse', noteBytes)),
      ];
      return takingBack(undo);
    },
  };
}

/** The ES module build is a class of its own. The smallest file that leads to it, also below a client. */
function transports(): object[] {
  const sniffing = [
    ...loadedCopies('@elastic/elasticsearch', 'lib/sniffingTransport.js'),
    ...moduleBuild('@elastic/elasticsearch', 'esm/sniffingTransport.js'),
  ].map(copy => (copy as { default: object }).default);
  const transports = loadedCopies('@elastic/transport', 'lib/Transport.js').map(
    copy => (copy as { default: object }).default,
  );
  return prototypesOf(...transports, ...sniffing.flatMap(one => [Object.getPrototypeOf(one), one]));
}

function engines(): object[] {
  const file = 'middleware/MiddlewareEngine.js';
  return [
    ...loadedCopies('@elastic/transport', `lib/${file}`),
    ...moduleBuild('@elastic/transport', `esm/${file}`),
  ].map(copy => (copy as { MiddlewareEngine: { prototype: object } }).MiddlewareEngine.prototype);
}

/**
 * Not unless what it imports is there: where nobody uses it, to load it would cost 170 ms, and its
 * `undici` would make itself the dispatcher of Node's `fetch`.
 */
function moduleBuild(packageName: string, file: string): unknown[] {
  const isPossible = ['hpagent', 'undici'].every(name => loadedCopies(name, 'index.js').length > 0);
  return isPossible ? installedBuilds(packageName, [file]) : [];
}

function coverTransports(transports: readonly object[], reporter: QueryReporter): (() => void)[] {
  if (transports.some(transport => !('request' in transport))) {
    reporter.warn('this version of @elastic/transport has no request(), so its queries are not counted');
  }
  return replaceMethods<Request>(transports, 'request', original => {
    return function request(params, options) {
      let handle: QueryHandle | undefined;
      try {
        handle = begin(params, reporter, request);
      } catch (error) {
        return Promise.reject(error as Error);
      }
      if (handle === undefined) return reporter.uncharged(() => original.call(this, params, options));
      // The application may keep the parameters of a request that it makes by itself, and use them at once.
      const own = params.meta === undefined ? { ...params } : params;
      const noted = { bytes: 0 };
      received.set(own, noted);
      return reporter
        .uncharged(() => original.call(this, own, options))
        .then(
          result => {
            const body = options?.meta === true ? (result as Answer | undefined)?.body : result;
            handle.end(rowsOfBody(body), false, noted.bytes);
            return result;
          },
          (error: unknown) => {
            handle.end(0, true, noted.bytes);
            throw error;
          },
        );
    };
  });
}

/** The bare driver's own error for what is no request. */
function begin(
  params: TransportParams | undefined,
  reporter: QueryReporter,
  stackBoundary: Request,
): QueryHandle | undefined {
  if (typeof params?.method !== 'string' || typeof params.path !== 'string') return undefined;
  const statement = describeRequest(params);
  if (statement.kind !== 'read') return reporter.beginOperation(statement, stackBoundary);
  const { path, querystring, body, bulkBody } = params;
  return reporter.beginOperation(statement, stackBoundary, [path, querystring, body, bulkBody]);
}

/** Each response of a request passes here, that of a retry as well. */
function noteBytes(original: OnResponse): OnResponse {
  return function executeOnResponse(context, result) {
    const noted = received.get(context.params);
    if (noted !== undefined)
      noted.bytes += bodyLength(result.headers?.['content-length'], '', result.statusCode);
    return original.call(this, context, result);
  };
}
