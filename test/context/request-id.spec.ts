import { Controller, Get, Logger } from '@nestjs/common';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContextService } from 'nestjs-async-context';
import { platforms, startApp, type TestApp, until } from '../support/platforms';

const ACCEPTED = /^[A-Za-z0-9][A-Za-z0-9_.:=+/@-]{0,199}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
/** Node's parser lets these through in a header value: all but the control characters, save the tab. */
const BYTES = Array.from({ length: 256 }, (_, byte) => byte).filter(
  byte => byte === 9 || (byte >= 32 && byte !== 127),
);
const LENGTHS = [0, 1, 2, 198, 199, 200, 201, 202, 255, 256, 4_096];

@Controller()
class IdController {
  readonly #logger = new Logger('Handler');

  constructor(private readonly context: ContextService) {}

  @Get()
  id(): { id: string; traceId: string | undefined } {
    this.#logger.log(this.context.requestId);
    return { id: this.context.requireRequestId(), traceId: this.context.traceId };
  }
}

describe.each(platforms)('the request id on %s', platform => {
  let untrusting: TestApp;
  let trusting: TestApp;

  beforeAll(async () => {
    untrusting = await startApp({ platform, controllers: [IdController] });
    trusting = await startApp({ platform, controllers: [IdController], requestId: { trust: true } });
  });
  afterAll(() => Promise.all([untrusting.close(), trusting.close()]));

  it('is made by default, whatever the client sends, and answered', async () => {
    const response = await fetch(untrusting.url, { headers: { 'x-request-id': 'from-the-client' } });
    const { id } = (await response.json()) as { id: string };
    expect(id).toMatch(UUID);
    expect(response.headers.get('x-request-id')).toBe(id);
  });

  it('is taken over from a trusted client', async () => {
    const response = await fetch(trusting.url, { headers: { 'x-request-id': 'from-the-client' } });
    expect(await response.json()).toMatchObject({ id: 'from-the-client' });
    expect(response.headers.get('x-request-id')).toBe('from-the-client');
  });

  it('is replaced, never stripped, for each byte that a header can carry, in each place', async () => {
    expect(BYTES).toHaveLength(224);
    const values = BYTES.flatMap(byte => {
      const c = Buffer.from([byte]);
      return [
        Buffer.concat([c, Buffer.from('bc')]),
        Buffer.concat([Buffer.from('a'), c, Buffer.from('c')]),
        Buffer.concat([Buffer.from('ab'), c]),
      ];
    });
    await checkAll(trusting, values);
  });

  it('is replaced beyond 200 characters', async () => {
    await checkAll(
      trusting,
      LENGTHS.map(length => Buffer.alloc(length, 'a')),
    );
  });

  it('is replaced when the header comes twice', async () => {
    const answer = await raw(trusting.url, ['x-request-id: first', 'X-Request-Id: second']);
    expect(answer.body.id).toMatch(UUID);
    expect(answer.text).not.toMatch(/first|second/);
  });

  it.each([
    ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', '0af7651916cd43dd8448eb211c80319c'],
    [
      'cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like',
      '0af7651916cd43dd8448eb211c80319c',
    ],
    ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more', undefined],
    ['ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', undefined],
    ['00-00000000000000000000000000000000-b7ad6b7169203331-01', undefined],
    ['00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01', undefined],
    ['00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01', undefined],
    ['cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x', undefined],
    ['', undefined],
  ])('reads the trace id of traceparent %j: %j', async (traceparent, traceId) => {
    const response = await fetch(untrusting.url, { headers: { traceparent } });
    const read = ((await response.json()) as { traceId: string }).traceId;
    if (traceId !== undefined) expect(read).toBe(traceId);
    else {
      expect(read).toMatch(/^[0-9a-f]{32}$/);
      expect(read).not.toBe('0'.repeat(32));
      expect(traceparent.toLowerCase()).not.toContain(read);
    }
  });
});

describe('the options of the request id', () => {
  it.each([
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
    ['gives no string', () => 5 as unknown as string],
    ['gives what is not accepted', () => 'a b'],
    ['gives 201 characters', () => 'a'.repeat(201)],
  ])('falls back to a UUID when generate() %s', async (_name, generate) => {
    const test = await startApp({ controllers: [IdController], requestId: { generate } });
    const response = await fetch(test.url);
    expect(response.status).toBe(200);
    expect(((await response.json()) as { id: string }).id).toMatch(UUID);
    expect(test.logs.of('warn', 'AsyncContext').join()).toContain(
      'requestId.generate failed and was ignored',
    );
    await test.close();
  });

  it('uses the headers, the trust and the generator of the application', async () => {
    const test = await startApp({
      controllers: [IdController],
      requestId: {
        header: 'X-Correlation-Id',
        responseHeader: 'x-answer',
        generate: () => 'made-here',
        trust: request => (request as { headers: Record<string, string> }).headers['x-from'] === 'gateway',
      },
    });
    const trusted = await fetch(test.url, { headers: { 'x-correlation-id': 'theirs', 'x-from': 'gateway' } });
    expect(trusted.headers.get('x-answer')).toBe('theirs');
    const other = await fetch(test.url, { headers: { 'x-correlation-id': 'theirs' } });
    expect(other.headers.get('x-answer')).toBe('made-here');
    expect(other.headers.get('x-request-id')).toBeNull();
    await test.close();
  });

  it('answers none with responseHeader: false', async () => {
    const test = await startApp({ controllers: [IdController], requestId: { responseHeader: false } });
    expect((await fetch(test.url)).headers.get('x-request-id')).toBeNull();
    await test.close();
  });

  it('does not trust when trust() throws', async () => {
    const test = await startApp({
      controllers: [IdController],
      requestId: {
        trust: () => {
          throw new Error('no');
        },
      },
    });
    const response = await fetch(test.url, { headers: { 'x-request-id': 'theirs' } });
    expect(((await response.json()) as { id: string }).id).toMatch(UUID);
    await test.close();
  });
});

async function checkAll(test: TestApp, values: readonly Buffer[]): Promise<void> {
  const answered: string[] = [];
  for (const value of values) {
    const answer = await raw(test.url, [Buffer.concat([Buffer.from('x-request-id: '), value])]);
    // White space around a header's value is not part of it: RFC 9110, section 5.5.
    const sent = value.toString('latin1').replace(/^[ \t]+|[ \t]+$/g, '');
    expect(answer.status).toBeLessThan(500);
    if (answer.status !== 200) continue;
    expect(answer.body.id).toMatch(ACCEPTED);
    expect(answer.header).toBe(answer.body.id);
    expect(answer.body.id === sent).toBe(ACCEPTED.test(sent));
    answered.push(answer.body.id);
  }
  expect(answered.length).toBeGreaterThan(values.length / 2);
  const written = await until(() => {
    const ids = test.sink.records.map(record => record.requestId);
    return ids.at(-1) === answered.at(-1) && ids;
  }, 'the last record');
  expect(written.slice(-answered.length)).toEqual(answered);
  expect(test.logs.of('log', 'Handler').slice(-answered.length)).toEqual(answered);
}

interface RawAnswer {
  readonly status: number;
  readonly header: string | undefined;
  readonly body: { id: string };
  readonly text: string;
}

/** Sends header lines byte for byte, which `fetch` would refuse to. */
function raw(url: string, headers: readonly (Buffer | string)[]): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => {
      socket.write('GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n');
      for (const header of headers)
        socket.write(Buffer.concat([Buffer.from(header as string), Buffer.from('\r\n')]));
      socket.write('\r\n');
    });
    let text = '';
    socket.setEncoding('latin1').on('data', chunk => (text += chunk));
    socket.on('error', reject);
    socket.on('close', () => {
      const [head = '', ...rest] = text.split('\r\n\r\n');
      const json = /\{.*\}/.exec(rest.join(''))?.[0];
      resolve({
        status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]),
        header: /^x-request-id: (.*)$/im.exec(head)?.[1],
        body: json === undefined ? { id: '' } : (JSON.parse(json) as { id: string }),
        text,
      });
    });
  });
}
