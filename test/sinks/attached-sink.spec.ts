import { type AttachedSink, ContextService, type SinkApplication } from 'nestjs-async-context';
import { runInNewContext } from 'node:vm';
import { setFlagsFromString } from 'node:v8';
import { expect, it } from 'vitest';
import { AttachedApplications } from '../../lib/sinks/attached-applications';
import { startApp } from '../support/platforms';

class CuriousSink implements AttachedSink {
  readonly name = 'curious';
  readonly applications: SinkApplication[] = [];

  attach(application: SinkApplication): void {
    this.applications.push(application);
  }

  write(): void {}
}

it('tells a sink once of each application that hands it records', async () => {
  const sink = new CuriousSink();
  const first = await startApp({ sinks: [sink] });
  const second = await startApp({ sinks: [sink] });
  expect(sink.applications).toEqual([first, second].map(({ app }) => app.get(ContextService)));
  expect(sink.applications[0]!.attribution.drivers).toBeTypeOf('object');
  await first.close();
  await second.close();
});

it('starts an application whose sink fails when it is told, and says so', async () => {
  const sink = new CuriousSink();
  sink.attach = () => {
    throw new Error('not interested');
  };
  const test = await startApp({ sinks: [sink] });
  await fetch(test.url);
  expect(await test.records(1)).toHaveLength(1);
  expect(test.logs.of('warn', 'AsyncContext')).toEqual([
    expect.stringContaining('sink curious, attach() failed and was ignored: Error at attached-sink.spec.ts:'),
  ]);
  await test.close();
});

it('keeps no application for the figures of the process', async () => {
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  const applications = new AttachedApplications();
  const attribution = { charged: 0, late: 0, lost: 0, drivers: {} };
  const kept: SinkApplication = { attribution };
  applications.add({ attribution: { ...attribution } });
  applications.add(kept);
  applications.add(kept);
  // A reference that was asked for lives until the turn ends.
  await new Promise(resolve => setImmediate(resolve));
  collectGarbage();
  expect([...applications]).toEqual([kept]);
  expect(applications.any).toBe(kept);
});
