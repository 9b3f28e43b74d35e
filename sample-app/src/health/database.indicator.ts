import { Injectable } from '@nestjs/common';
import { HealthIndicatorService } from '@nestjs/terminus';
import { setTimeout as wait } from 'node:timers/promises';
import { Pool } from 'pg';

const ANSWERS_WITHIN_MS = 1_000;

@Injectable()
export class DatabaseIndicator {
  constructor(
    private readonly pool: Pool,
    private readonly indicators: HealthIndicatorService,
  ) {}

  async check() {
    const indicator = this.indicators.check('database');
    const answer = this.pool.query('SELECT 1').then(
      () => true,
      () => false,
    );
    const isUp = await Promise.race([answer, wait(ANSWERS_WITHIN_MS, false, { ref: false })]);
    return isUp ? indicator.up() : indicator.down();
  }
}
