import { isIP } from 'node:net';
import type { AsyncContextError } from '../../kernel/errors';
import { RecentMap } from '../../kernel/recent-map';

const MAX_HOSTS = 1_000;
/** Origins that are judged once; one that is redirected to may be any. */
const MAX_ORIGINS = 1_000;
/** A host of at most 253 characters, with a port. */
const MAX_LENGTH = 253 + ':65535'.length;
/** What makes an address more than a host and a port. */
const NO_HOST = /[\s/\\?#@%,*]/;
const DEFAULT_PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443' };
const REMEDY =
  "Write a host as 'api.internal', 'api.internal:8080', '[fd00::1]:8080' or '*.internal.example.com', " +
  'without a scheme or a path.';

interface Listed {
  /** `api.internal`, or `.internal.example.com` for what is below it. */
  readonly name: string;
  /** `undefined` for any. */
  readonly port: string | undefined;
}

type Fail = (path: string, value: unknown, remedy: string) => AsyncContextError;

/** The hosts that a context may be told to. */
export class HostList {
  readonly #listed: readonly Listed[];
  readonly #judged = new RecentMap<boolean>(MAX_ORIGINS);

  private constructor(listed: readonly Listed[]) {
    this.#listed = listed;
  }

  /** @throws AsyncContextError what `fail` makes, for a host that is none */
  static read(hosts: unknown, fail: Fail): HostList {
    if (!Array.isArray(hosts) || hosts.length > MAX_HOSTS) {
      throw fail('hosts', hosts, `Use a list of at most ${MAX_HOSTS} hosts. ${REMEDY}`);
    }
    return new HostList(hosts.map((host, i) => readHost(host, () => fail(`hosts[${i}]`, host, REMEDY))));
  }

  get isEmpty(): boolean {
    return this.#listed.length === 0;
  }

  /** Whether the host of `https://api.internal:8443` is listed. */
  has(origin: string): boolean {
    let isListed = this.#judged.get(origin);
    if (isListed !== undefined) return isListed;
    isListed = this.#judge(origin);
    if (origin.length <= 2 * MAX_LENGTH) this.#judged.set(origin, isListed);
    return isListed;
  }

  #judge(origin: string): boolean {
    if (!URL.canParse(origin)) return false;
    const { protocol, hostname, port } = new URL(origin);
    const name = withoutRoot(hostname);
    const effective = port === '' ? DEFAULT_PORTS[protocol] : port;
    return this.#listed.some(listed => {
      if (listed.port !== undefined && listed.port !== effective) return false;
      return listed.name.startsWith('.') ? name.endsWith(listed.name) : name === listed.name;
    });
  }
}

function readHost(host: unknown, fail: () => AsyncContextError): Listed {
  if (typeof host !== 'string' || host.length > MAX_LENGTH) throw fail();
  const isWildcard = host.startsWith('*.');
  const text = isWildcard ? host.slice(2) : host;
  // As a URL reads it: in lower case, in Punycode, an IPv6 address in its short form.
  if (NO_HOST.test(text) || !URL.canParse(`ws://${text}`)) throw fail();
  const { hostname, port } = new URL(`ws://${text}`);
  const name = withoutRoot(hostname);
  if (name === '' || `.${name}`.includes('..') || text.endsWith(':') || port === '0') throw fail();
  if (isWildcard && (name.startsWith('[') || isIP(name) !== 0)) throw fail();
  // A URL leaves out the port that its scheme has anyway.
  const isDefaultPort = port === '' && /:\d+$/.test(text);
  return { name: isWildcard ? `.${name}` : name, port: isDefaultPort ? '80' : port || undefined };
}

/** `api.internal.` is the same host as `api.internal`. */
function withoutRoot(hostname: string): string {
  return hostname.endsWith('.') ? hostname.slice(0, -1) : hostname;
}
