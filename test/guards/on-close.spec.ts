import { type CanActivate, Controller, Get, Inject, Injectable, UseGuards } from '@nestjs/common';
import { ContextService } from 'nestjs-async-context';
import { request } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { GuardKit } from '../../lib/guards/guard-kit';
import { GUARD_KIT } from '../../lib/guards/guard-kit-token';
import { platforms, startApp, until } from '../support/platforms';

const seen: string[] = [];
let release: () => void = () => undefined;
let isWaiting = false;
let handle: () => Promise<void> = () => Promise.resolve();

/** A guard that takes its time: a look-up of a session. */
@Injectable()
class SlowGuard implements CanActivate {
  async canActivate(): Promise<boolean> {
    isWaiting = true;
    await new Promise<void>(resolve => (release = resolve));
    isWaiting = false;
    return true;
  }
}

/** Takes something, and wants it back. */
@Injectable()
class TakingGuard implements CanActivate {
  constructor(
    private readonly context: ContextService,
    @Inject(GUARD_KIT) private readonly kit: GuardKit,
  ) {}

  canActivate(execution: never): boolean {
    const unit = this.kit.contextOf(execution)!;
    seen.push(`taken, ${unit.isClosed ? 'closed' : 'open'}`);
    this.context.onClose(() => void seen.push(`closed ${this.context.requestId === unit.requestId}`));
    this.kit.whenOver(unit, 60_000, hasEnded => void seen.push(`over ${hasEnded}`));
    return true;
  }
}

@Controller()
class SlowController {
  @Get('guarded')
  @UseGuards(SlowGuard, TakingGuard)
  async guarded() {
    await handle();
    seen.push('handled');
  }

  @Get()
  @UseGuards(TakingGuard)
  async get() {
    await handle();
    seen.push('handled');
    return 'ok';
  }

  @Get('fails')
  @UseGuards(TakingGuard)
  fails() {
    throw new Error('of the application');
  }
}

/** A client that leaves as soon as its request is under way. */
async function leave(url: string, isUnderWay: () => boolean): Promise<void> {
  const sent = request(url);
  sent.on('error', () => undefined);
  sent.end();
  await until(isUnderWay, 'request');
  sent.destroy();
}

describe.each(platforms)('what a guard has taken comes back on %s', platform => {
  it('where the client leaves while an earlier guard waits', async () => {
    const test = await startApp({ platform, controllers: [SlowController] });
    seen.length = 0;
    handle = () => Promise.resolve();
    await leave(`${test.url}/guarded`, () => isWaiting);
    await test.records(1);
    release();
    await until(() => seen.length >= 4, 'end');
    expect(seen).toEqual(['taken, closed', 'closed true', 'handled', 'over true']);
    await test.close();
  });

  it('where the client leaves and the handler goes on, when that has settled', async () => {
    const test = await startApp({ platform, controllers: [SlowController] });
    seen.length = 0;
    let finish: (() => void) | undefined;
    handle = () => new Promise(resolve => (finish = resolve));
    await leave(test.url, () => finish !== undefined);
    await test.records(1);
    expect(seen).toEqual(['taken, open', 'closed true']);
    finish?.();
    await until(() => seen.length >= 4, 'end');
    expect(seen).toEqual(['taken, open', 'closed true', 'handled', 'over true']);
    await test.close();
  });

  it('after each answer', async () => {
    const test = await startApp({ platform, controllers: [SlowController] });
    handle = () => Promise.resolve();
    for (const path of ['', 'fails']) {
      seen.length = 0;
      await (await fetch(`${test.url}/${path}`)).text();
      await until(() => seen.includes('over true'), 'end');
      expect(seen.at(-1)).toBe('over true');
    }
    await test.close();
  });
});
