import { afterAll, afterEach, beforeAll } from 'vitest';
import { type Child, Programs } from '../../../support/child';
import { until } from '../../../support/platforms';
import type { UnhandledErrorsApp, Said } from './app';

const FOLDER = 'test/detectors/errors/unhandled-errors';

export type Line = Extract<Said, { level: string }>;
export type ProcessEvent = Extract<Said, { event: string }>;

/** Compiles the program for the tests of a file, and ends each process that they start. */
export function usePrograms(): (
  settings: UnhandledErrorsApp,
  nodeArgs?: readonly string[],
) => Promise<Running> {
  let programs: Programs;
  let started: Child<Said>[] = [];
  beforeAll(() => {
    programs = new Programs(...['app', 'drivers', 'faults', 'orders'].map(name => `${FOLDER}/${name}.ts`));
  });
  afterAll(() => programs.remove());
  afterEach(async () => {
    await Promise.all(started.map(child => child.stop()));
    started = [];
  });
  return async (settings, nodeArgs) => {
    const child = programs.start<Said>(`${FOLDER}/app.ts`, settings, nodeArgs);
    started.push(child);
    const { url } = await child.hears('address', (said): said is Said & { url: string } => 'url' in said);
    return new Running(child, url);
  };
}

/** The application in a process of its own. */
export class Running {
  constructor(
    readonly child: Child<Said>,
    readonly url: string,
  ) {}

  /** What was reported. */
  get reports(): Line[] {
    return this.lines.filter(({ context }) => context === 'UnhandledErrors');
  }

  get lines(): Line[] {
    return this.child.said.filter((said): said is Line => 'level' in said);
  }

  /** What the application's own listeners were given. */
  get events(): ProcessEvent[] {
    return this.child.said.filter((said): said is ProcessEvent => 'event' in said);
  }

  /** Sends a command and waits for what is said to it. */
  async ask(command: string): Promise<Said> {
    const before = this.child.said.length;
    this.child.send(command);
    return until(
      () => this.child.said.slice(before).find(said => 'listeners' in said || 'records' in said),
      `answer to ${command}`,
    );
  }

  async listeners(command = 'listeners'): Promise<Record<string, number>> {
    return ((await this.ask(command)) as { listeners: Record<string, number> }).listeners;
  }

  /** The records of its requests, as soon as there are so many. */
  async records(count: number): Promise<readonly object[]> {
    for (let i = 0; i < 100; i++) {
      const { records } = (await this.ask('records')) as { records: readonly object[] };
      if (records.length >= count) return records;
    }
    throw new Error(`no ${count} records`);
  }

  /** A request that hangs, because an error of its was lost; given up once `isDone`. Gives its id. */
  async lose(how: string, isDone?: () => boolean): Promise<string> {
    return this.hang(`lose/${encodeURIComponent(how)}`, isDone);
  }

  /** The same of any path. */
  async hang(path: string, isDone: () => boolean = this.#oneMoreEvent()): Promise<string> {
    const leave = new AbortController();
    const id = `lost-${Math.random()}`;
    const request = fetch(`${this.url}/${path}`, {
      headers: { 'x-request-id': id },
      signal: leave.signal,
    }).catch(() => undefined);
    await until(isDone, `end of ${path}: ${this.child.stderr}`);
    // What came twice would be here by then.
    await new Promise(resolve => setTimeout(resolve, 20));
    leave.abort();
    await request;
    return id;
  }

  #oneMoreEvent(): () => boolean {
    const before = this.events.length;
    return () => this.events.length > before;
  }
}
