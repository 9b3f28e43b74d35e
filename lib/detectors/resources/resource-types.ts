import type { ResourceType } from '../../context/request-context';

/** What is to be known of one type. */
interface ResourceRules {
  readonly plural: string;
  /** Modules of Node between the resource and the line that asked for it; others keep it for themselves. */
  readonly through: RegExp;
  readonly remedy: string;
  /** What is asked later, in place of what the hook was given. */
  subjectOf(resource: object): object;
  isOpen(subject: object): boolean;
  /** Whether nothing but the monitor may keep it alive while it is open. */
  readonly isKept?: true;
}

/** What libuv keeps: nothing but `hasRef()` tells of all of them, on Node 20 to 26, that they were closed. */
const handle = {
  subjectOf: (resource: object): object => resource,
  isOpen: (resource: object): boolean => hasRef(resource) !== undefined,
};

const stream = {
  through: /^node:/,
  remedy: 'read it to the end or call stream.destroy(); use pipeline() instead of pipe()',
  subjectOf: (resource: object): object => resource,
  isOpen: (resource: object): boolean => (resource as { destroyed?: boolean }).destroyed === false,
  // Its file stays open when the stream itself is collected.
  isKept: true,
} as const;

const timer = {
  through: /^node:(?:internal\/)?timers(?:\/promises)?$/,
  subjectOf: (resource: object): object => resource,
  isOpen: (resource: object): boolean => (resource as { _destroyed?: boolean })._destroyed === false,
};

/** By type. What Node keeps no record of (`fs.open`, `fs.opendir`) is not seen. */
export const RESOURCE_RULES: Readonly<Record<ResourceType, ResourceRules>> = {
  interval: { ...timer, plural: 'intervals', remedy: 'clearInterval()' },
  timeout: { ...timer, plural: 'timeouts', remedy: 'clearTimeout() when it is no longer needed' },
  socket: {
    plural: 'sockets',
    through: /^node:(?:net|tls|_tls_wrap|internal\/tls\/wrap|http2|internal\/http2\/core)$/,
    remedy: 'socket.destroy() or session.close()',
    // A host with several addresses is tried with one handle after the other; the socket stays.
    subjectOf: resource => ownerOf(resource) ?? resource,
    isOpen: subject => ('destroyed' in subject ? subject.destroyed === false : handle.isOpen(subject)),
  },
  server: { ...handle, plural: 'servers', through: /^node:(?:net|tls)$/, remedy: 'server.close()' },
  'udp-socket': {
    ...handle,
    plural: 'UDP sockets',
    through: /^node:(?:internal\/)?dgram$/,
    remedy: 'socket.close()',
  },
  'file-handle': {
    plural: 'file handles',
    through: /^node:/,
    remedy: 'fileHandle.close() in finally',
    subjectOf: resource => resource,
    isOpen: resource => (resource as { fd?: number }).fd !== -1,
  },
  'read-stream': { ...stream, plural: 'read streams' },
  'write-stream': { ...stream, plural: 'write streams', remedy: 'stream.end() or stream.destroy()' },
  'child-process': {
    plural: 'child processes',
    through: /^node:(?:internal\/)?child_process$/,
    remedy: 'child.kill(), or a timeout or signal in its options',
    subjectOf: resource => resource,
    // One that was unref'd is meant to go on by itself.
    isOpen: resource => hasRef(resource) === true,
  },
  'file-watcher': {
    ...handle,
    plural: 'file watchers',
    through: /^node:(?:fs|internal\/fs\/\w+)$/,
    remedy: 'watcher.close() or unwatchFile()',
  },
  worker: { ...handle, plural: 'workers', through: /^node:internal\/worker$/, remedy: 'worker.terminate()' },
};

/** The type of what `async_hooks` tells of; `undefined` for what is of no interest. */
export function typeOf(asyncType: string, resource: object): ResourceType | undefined {
  if (asyncType !== 'Timeout') return TYPE_OF[asyncType];
  // What an application makes has its ref until `unref()`. The timers of Node's sockets, one for each
  // response on a connection that is kept, are born without.
  if (hasRef(resource) === false) return undefined;
  return typeof (resource as { _repeat?: unknown })._repeat === 'number' ? 'interval' : 'timeout';
}

// No TLSWRAP, HTTP2SESSION: they ride on a TCPWRAP. No ZLIB: memory only, which the collector frees.
// No FILEHANDLE: Node makes it outside of the context of who opened it.
const TYPE_OF: Readonly<Record<string, ResourceType>> = Object.assign(
  Object.create(null) as object,
  {
    TCPWRAP: 'socket',
    PIPEWRAP: 'socket',
    TCPSERVERWRAP: 'server',
    PIPESERVERWRAP: 'server',
    UDPWRAP: 'udp-socket',
    PROCESSWRAP: 'child-process',
    FSEVENTWRAP: 'file-watcher',
    STATWATCHER: 'file-watcher',
    WORKER: 'worker',
  } as const,
);

/** `undefined` once it is closed. */
function hasRef(resource: object): boolean | undefined {
  return (resource as { hasRef?: () => boolean | undefined }).hasRef?.();
}

/** The `net.Socket` of a handle. */
function ownerOf(resource: object): object | undefined {
  const symbol = Object.getOwnPropertySymbols(resource).find(
    ({ description }) => description === 'owner_symbol',
  );
  return symbol && (resource as Record<symbol, object | undefined>)[symbol];
}
