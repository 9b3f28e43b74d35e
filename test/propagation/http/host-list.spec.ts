import { describe, expect, it } from 'vitest';
import { HostList } from '../../../lib/propagation/http/host-list';
import { startApp } from '../../support/platforms';

const read = (...hosts: string[]): HostList => HostList.read(hosts, path => new Error(path) as never);

describe('the hosts that are told of a context', () => {
  it.each([
    ['api.internal', 'http://api.internal', true],
    ['api.internal', 'https://API.Internal:8443', true],
    ['API.INTERNAL', 'http://api.internal', true],
    ['api.internal', 'http://api.internal.', true],
    ['api.internal.', 'http://api.internal', true],
    ['api.internal', 'http://www.api.internal', false],
    ['api.internal', 'http://api.internal.evil.com', false],
    ['api.internal', 'http://xapi.internal', false],
    ['api.internal', 'http://user:api.internal@evil.com', false],
    ['api.internal:8080', 'http://api.internal:8080', true],
    ['api.internal:8080', 'http://api.internal:8081', false],
    ['api.internal:8080', 'http://api.internal', false],
    ['api.internal:80', 'http://api.internal', true],
    ['api.internal:80', 'https://api.internal', false],
    ['api.internal:443', 'https://api.internal', true],
    ['api.internal:443', 'http://api.internal:443', true],
    ['*.internal.example.com', 'http://a.internal.example.com', true],
    ['*.internal.example.com', 'http://a.b.INTERNAL.example.com:81', true],
    ['*.internal.example.com', 'http://internal.example.com', false],
    ['*.internal.example.com', 'http://evil-internal.example.com', false],
    ['*.internal.example.com', 'http://a.internal.example.com.evil.com', false],
    ['*.internal.example.com:81', 'http://a.internal.example.com:81', true],
    ['*.internal.example.com:81', 'http://a.internal.example.com', false],
    ['[::1]', 'http://[::1]:3000', true],
    ['[0:0:0:0:0:0:0:1]:3000', 'http://[::1]:3000', true],
    ['[::1]:3000', 'http://[::1]:3001', false],
    ['[::1]', 'http://[::2]', false],
    ['127.0.0.1', 'http://127.1', true],
    ['127.0.0.1', 'http://127.0.0.10', false],
    ['bücher.example', 'http://xn--bcher-kva.example', true],
    ['my_service', 'http://my_service:3000', true],
    ['localhost', 'no address', false],
  ])('%s and %s: %s', (host, origin, expected) => {
    const hosts = read(host);
    expect(hosts.has(origin)).toBe(expected);
    expect(hosts.has(origin)).toBe(expected);
  });

  it('are none by default', () => {
    expect(read().isEmpty).toBe(true);
    expect(read().has('http://localhost')).toBe(false);
  });

  it.each([
    '',
    '*',
    '*.',
    '*.*.example.com',
    'a.*.example.com',
    '*internal',
    'http://api.internal',
    'api.internal/',
    'api.internal/v1',
    'user@api.internal',
    'api internal',
    ' api.internal',
    'api.internal:',
    'a,b',
    'a#b',
    'api.internal:0',
    'api.internal:65536',
    'api.internal:http',
    '::1',
    '[::1',
    '*.127.0.0.1',
    '*.[::1]',
    'a..internal',
    '.internal',
    '*..internal',
    'a?b',
    'a%2eb',
    'a\\b',
    `${'a.'.repeat(130)}internal`,
  ])('cannot be %j', async host => {
    await expect(startApp({ propagate: { hosts: ['ok.internal', host] } })).rejects.toThrow(
      /propagate\.hosts\[1\].*Write a host as 'api\.internal'/,
    );
  });

  it.each([
    [{ hosts: 'api.internal' }, /propagate\.hosts.*list of at most 1000/],
    [{ hosts: [7] }, /propagate\.hosts\[0\]/],
    [{ hosts: Array.from({ length: 1_001 }, () => 'a') }, /propagate\.hosts.*list of at most 1000/],
    [{ sampled: 1.01 }, /propagate\.sampled.*0 to 1/],
    [{ sampled: -0.01 }, /propagate\.sampled.*0 to 1/],
    [{ sampled: '1' }, /propagate\.sampled/],
    [{ carrier: 1 }, /propagate\.carrier/],
    [{ carrier: true }, /propagate\.carrier.*Set carrierSecret/],
    [{ host: [] }, /propagate\.host .*no such option/],
    [[], /propagate/],
  ])('and the other options are checked: %#', async (propagate, message) => {
    await expect(startApp({ propagate: propagate as object })).rejects.toThrow(message);
  });

  it('may be 1,000', () => {
    const hosts = read(...Array.from({ length: 1_000 }, (_, i) => `h${i}`));
    expect(hosts.has('http://h999')).toBe(true);
  });
});
