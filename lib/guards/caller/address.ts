import { isIP } from 'node:net';

/**
 * An address as the one of a caller: IPv4 as it is, also where it is mapped to IPv6, and of IPv6 the network that
 * one customer is given. `undefined` for what is no address.
 *
 * @param ipv6Prefix bits of it that count
 */
export function networkOf(address: unknown, ipv6Prefix: number): string | undefined {
  if (typeof address !== 'string') return undefined;
  const family = isIP(address);
  if (family === 4) return address;
  if (family === 0) return undefined;
  const groups = groupsOf(address);
  if (groups.slice(0, 5).every(group => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6);
    return [high >> 8, high & 255, low >> 8, low & 255].join('.');
  }
  const masked = groups.map((group, i) => group & maskOf(ipv6Prefix - i * 16));
  return `${masked.map(group => group.toString(16)).join(':')}/${ipv6Prefix}`;
}

/** The eight groups of a valid address of IPv6, without its zone. */
function groupsOf(address: string): number[] {
  const [bare = ''] = address.split('%');
  const [head = '', tail] = bare.split('::');
  const first = partsOf(head);
  if (tail === undefined) return first;
  const last = partsOf(tail);
  return [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
}

function partsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap(part => {
    if (!part.includes('.')) return [Number.parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

/** Of 16 bits, the first so many. */
function maskOf(bits: number): number {
  return bits >= 16 ? 0xffff : bits <= 0 ? 0 : (0xffff << (16 - bits)) & 0xffff;
}
