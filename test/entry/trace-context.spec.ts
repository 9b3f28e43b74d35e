import { Controller, Get, Query } from '@nestjs/common';
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HeaderServer, startHeaderServer } from '../support/header-server';
import { platforms, startApp, type TestApp } from '../support/platforms';

// The cases of https://www.w3.org/TR/trace-context-2/, as a service behind this one sees them.
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const VALID = `00-${TRACE}-${PARENT}-01`;

type Header = readonly [name: string, value: string];

let server: HeaderServer;

@Controller()
class Gateway {
  @Get()
  async forward(@Query('to') to: string, @Query('times') times = '1'): Promise<void> {
    for (let i = 0; i < Number(times); i += 1) await (await fetch(server.url + to)).text();
  }
}

/** A header may come twice: that takes the list of names and values. */
function ask(url: string, headers: readonly Header[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const list = ['host', new URL(url).host, ...headers.flat()];
    http
      .get(url, { headers: list as never }, response => response.resume().on('end', resolve))
      .on('error', reject);
  });
}

let paths = 0;

describe.each(platforms)('the W3C trace context of a request on %s', platform => {
  let test: TestApp;
  beforeAll(async () => {
    server = await startHeaderServer();
    test = await startApp({ platform, controllers: [Gateway], propagate: { hosts: ['127.0.0.1'] } });
  });
  afterAll(async () => {
    await test.close();
    await server.close();
  });

  interface Passed {
    readonly traceId: string;
    readonly spanId: string;
    readonly flags: string;
    /** Without the member of ours. */
    readonly state: string;
  }

  async function passed(headers: readonly Header[], times = 1): Promise<Passed[]> {
    const path = `/p${(paths += 1)}`;
    await ask(`${test.url}/?to=${path}&times=${times}`, headers);
    return server.seen
      .filter(request => request.path === path)
      .map(request => {
        expect(request.times('traceparent')).toBe(1);
        expect(request.times('tracestate')).toBe(1);
        const { traceparent, tracestate } = request.headers;
        const [, traceId = '', spanId = '', flags = ''] =
          /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(String(traceparent)) ?? [];
        expect([traceId, spanId]).not.toContain('');
        const state = String(tracestate);
        expect(state.split(',').length).toBeLessThanOrEqual(32);
        return { traceId, spanId, flags, state: state.replace(/^nac=[0-9a-f.]{33},?/, '') };
      });
  }

  it.each<[what: string, headers: Header[]]>([
    ['a trace of version 00', [['traceparent', VALID]]],
    ['a name in capitals', [['TRACEPARENT', VALID]]],
    ['a name in mixed case', [['TraceParent', VALID]]],
    ['white space around it', [['traceparent', ` \t${VALID} \t`]]],
    ['a later version', [['traceparent', `cc-${TRACE}-${PARENT}-01`]]],
    ['a later version with more fields', [['traceparent', `cc-${TRACE}-${PARENT}-01-what-comes-then`]]],
    ['a later version that ends in a dash', [['traceparent', `cc-${TRACE}-${PARENT}-01-`]]],
  ])('goes on: %s', async (_what, headers) => {
    const [one] = await passed(headers);
    expect(one).toMatchObject({ traceId: TRACE, flags: '01', state: '' });
    expect(one!.spanId).not.toBe(PARENT);
  });

  it.each<[what: string, headers: Header[]]>([
    ['without any', []],
    [
      'two of them',
      [
        ['traceparent', VALID],
        ['traceparent', VALID],
      ],
    ],
    [
      'two of them, of a later version',
      [
        ['traceparent', `cc-${TRACE}-${PARENT}-01-x`],
        ['traceparent', VALID],
      ],
    ],
    ['another name', [['trace-parent', VALID]]],
    ['another name, with a dot', [['trace.parent', VALID]]],
    ['nothing in it', [['traceparent', '']]],
    ['something after version 00', [['traceparent', `${VALID}.`]]],
    ['more fields after version 00', [['traceparent', `${VALID}-what-comes-then`]]],
    ['a later version that goes on without a dash', [['traceparent', `cc-${TRACE}-${PARENT}-01.what`]]],
    ['version ff', [['traceparent', `ff-${TRACE}-${PARENT}-01`]]],
    ['a version in capitals', [['traceparent', `CC-${TRACE}-${PARENT}-01`]]],
    ['a version that is no number', [['traceparent', `.0-${TRACE}-${PARENT}-01`]]],
    ['a version that is half a number', [['traceparent', `0.-${TRACE}-${PARENT}-01`]]],
    ['a version of three digits', [['traceparent', `000-${TRACE}-${PARENT}-01`]]],
    ['a version of one digit', [['traceparent', `0-${TRACE}-${PARENT}-01`]]],
    ['a trace id of zeros', [['traceparent', `00-${'0'.repeat(32)}-${PARENT}-01`]]],
    ['a trace id in capitals', [['traceparent', `00-${TRACE.toUpperCase()}-${PARENT}-01`]]],
    ['a trace id with a dot', [['traceparent', `00-.${TRACE.slice(1)}-${PARENT}-01`]]],
    ['a trace id that is too long', [['traceparent', `00-${TRACE}1-${PARENT}-01`]]],
    ['a trace id that is too short', [['traceparent', `00-${TRACE.slice(1)}-${PARENT}-01`]]],
    ['a span id of zeros', [['traceparent', `00-${TRACE}-${'0'.repeat(16)}-01`]]],
    ['a span id with a dot', [['traceparent', `00-${TRACE}-.${PARENT.slice(1)}-01`]]],
    ['a span id that is too long', [['traceparent', `00-${TRACE}-${PARENT}1-01`]]],
    ['a span id that is too short', [['traceparent', `00-${TRACE}-${PARENT.slice(1)}-01`]]],
    ['flags with a dot', [['traceparent', `00-${TRACE}-${PARENT}-.0`]]],
    ['flags that are half a number', [['traceparent', `00-${TRACE}-${PARENT}-0.`]]],
    ['flags that are too long', [['traceparent', `00-${TRACE}-${PARENT}-001`]]],
    ['flags that are too short', [['traceparent', `00-${TRACE}-${PARENT}-1`]]],
  ])('begins anew, and without the tracestate: %s', async (_what, headers) => {
    const [one] = await passed([...headers, ['tracestate', 'foo=1']]);
    expect(one).toMatchObject({ flags: '03', state: '' });
    expect(one!.traceId).not.toBe('0'.repeat(32));
    expect(one!.traceId.toLowerCase()).not.toContain(TRACE.slice(1, 31));
  });

  it.each([
    ['00', '00'],
    ['01', '01'],
    ['02', '02'],
    ['03', '03'],
    ['ff', '03'],
    ['04', '00'],
  ])('passes on the flags that are known: %s as %s', async (given, flags) => {
    const [one] = await passed([['traceparent', `00-${TRACE}-${PARENT}-${given}`]]);
    expect(one).toMatchObject({ traceId: TRACE, flags });
  });

  const key = (length: number): string => 'z'.repeat(length);
  const members = (count: number): string =>
    Array.from({ length: count }, (_, i) => `bar${String(i).padStart(2, '0')}=1`).join(',');
  const KEYS = 'abcdefghijklmnopqrstuvwxyz0123456789_-*/@';
  const VALUES = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).filter(
    c => !',='.includes(c),
  );

  it.each<[what: string, values: string[], state: string]>([
    ['as it is', ['foo=1,bar=2'], 'foo=1,bar=2'],
    ['from several headers', ['foo=1,bar=2', 'rojo=1,congo=2', 'baz=3'], 'foo=1,bar=2,rojo=1,congo=2,baz=3'],
    ['without white space', ['foo=1 \t , \t bar=2, \t baz=3'], 'foo=1,bar=2,baz=3'],
    ['without white space at its ends', ['\t foo=1 \t'], 'foo=1'],
    ['with a space within a value', ['foo= 1 2'], 'foo= 1 2'],
    ['without empty members', ['foo=1,,bar=2, ,'], 'foo=1,bar=2'],
    ['without an empty header before', ['', 'foo=1'], 'foo=1'],
    ['without an empty header after', ['foo=1', ''], 'foo=1'],
    ['empty', [''], ''],
    ['with each key once', ['foo=1,foo=2,bar=3', 'foo=4'], 'foo=1,bar=3'],
    [
      'with all that a key and a value may hold',
      [`${KEYS}=${VALUES.join('')}`],
      `${KEYS}=${VALUES.join('')}`,
    ],
    ['with a key that ends in @', ['foo@=1,bar=2'], 'foo@=1,bar=2'],
    ['with two @ in a key', ['foo@@bar=1,bar=2'], 'foo@@bar=1,bar=2'],
    ['with a key that begins with a digit', ['0foo=1'], '0foo=1'],
    ['with a key of 256', ['foo=1', `${key(256)}=1`], `foo=1,${key(256)}=1`],
    ['with a value of 256', [`foo=${key(256)}`], `foo=${key(256)}`],
    ['with 32 members', [members(32)], members(32)],
    ['of 512 characters', [`${key(253)}=1,${key(254)}=1`], `${key(253)}=1,${key(254)}=1`],
    ['of 513 characters without the last long member', [`${key(254)}=1,y${key(253)}=1`], `${key(254)}=1`],
    [
      'of 526 characters without a long member before the short ones',
      [`a=1,${key(200)}=1,${key(250)}=1,${key(60)}=1,b=2`],
      `a=1,${key(200)}=1,${key(60)}=1,b=2`,
    ],
    [
      'of short members without the last of them',
      [Array.from({ length: 5 }, (_, i) => `${i}${key(107)}=1`).join(',')],
      Array.from({ length: 4 }, (_, i) => `${i}${key(107)}=1`).join(','),
    ],
  ])('passes on the tracestate %s', async (_what, values, state) => {
    const [one] = await passed([
      ['traceparent', VALID],
      ...values.map((value): Header => ['tracestate', value]),
    ]);
    expect(one).toMatchObject({ traceId: TRACE, state });
  });

  it.each<[what: string, values: string[]]>([
    ['has a space after a key', ['foo =1']],
    ['has a key in capitals', ['FOO=1']],
    ['has a dot in a key', ['foo.bar=1']],
    ['has a key that begins with @', ['@foo=1,bar=2']],
    ['has no key', ['=1,bar=2']],
    ['has no value', ['foo=,bar=3']],
    ['has a member without =', ['foo,bar=3']],
    ['has two =', ['foo=bar=baz']],
    ['has a tab within a value', ['foo=a\tb']],
    ['has a value that is no ASCII', ['foo=\u00e9']],
    ['has a key of 257', ['foo=1', `${key(257)}=1`]],
    ['has a value of 257', ['foo=1', `bar=${key(257)}`]],
    ['has 33 members', [members(33)]],
    ['has 33 members in two headers', [members(32), 'foo=1']],
  ])('drops a tracestate that %s, and keeps the trace', async (_what, values) => {
    const [one] = await passed([
      ['traceparent', VALID],
      ...values.map((value): Header => ['tracestate', value]),
    ]);
    expect(one).toMatchObject({ traceId: TRACE, state: '' });
  });

  it('takes no other name for the tracestate', async () => {
    const [one] = await passed([
      ['traceparent', VALID],
      ['trace-state', 'foo=1'],
      ['trace.state', 'bar=1'],
    ]);
    expect(one).toMatchObject({ traceId: TRACE, state: '' });
    const [other] = await passed([
      ['TraceParent', VALID],
      ['TraceState', 'foo=1'],
    ]);
    expect(other).toMatchObject({ traceId: TRACE, state: 'foo=1' });
  });

  it.each<[Header[]]>([
    [[['traceparent', VALID]]],
    [[]],
    [[['traceparent', VALID.replace(TRACE, '0'.repeat(32))]]],
  ])('gives each of several requests a span of its own, in one trace: %j', async headers => {
    const all = await passed(headers, 3);
    expect(new Set(all.map(({ spanId }) => spanId)).size).toBe(3);
    expect(new Set(all.map(({ traceId }) => traceId)).size).toBe(1);
  });
});

describe('our own member of a tracestate', () => {
  it('names the unit of work that has asked as the parent', async () => {
    server = await startHeaderServer();
    const called = await startApp({ controllers: [Gateway], propagate: { hosts: ['127.0.0.1'] } });
    const calling = await startApp({ propagate: { hosts: ['127.0.0.1'] } });
    const { ContextService } = await import('nestjs-async-context');
    await calling.app.get(ContextService).run({}, () => fetch(`${called.url}/?to=/end`));
    const [[above], [stackBoundary]] = [await calling.records(1), await called.records(1)];
    expect(stackBoundary).toMatchObject({ traceId: above!.traceId, parentSpanId: above!.spanId });
    // The one of whoever asks next, and no other.
    expect(server.at('/end').headers['tracestate']).toMatch(
      new RegExp(`^nac=${stackBoundary!.spanId}\\.[0-9a-f]{16}$`),
    );

    // Somebody stood between, who has a span of its own and passes on the rest.
    const nac = `nac=${'a'.repeat(16)}.${'b'.repeat(16)}`;
    await ask(`${called.url}/?to=/between`, [
      ['traceparent', VALID],
      ['tracestate', `${nac},foo=1`],
    ]);
    const record = (await called.records(2))[1]!;
    expect(record.parentSpanId).toBe(PARENT);
    expect(server.at('/between').headers['tracestate']).toMatch(
      new RegExp(`^nac=${record.spanId}\\.[0-9a-f]{16},foo=1$`),
    );
    await Promise.all([called.close(), calling.close(), server.close()]);
  });
});
