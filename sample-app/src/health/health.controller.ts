import { Controller, Get } from '@nestjs/common';
import { HealthCheck, HealthCheckService } from '@nestjs/terminus';
import { DatabaseIndicator } from './database.indicator';

@Controller('health')
export class HealthController {
  constructor(
    private readonly health: HealthCheckService,
    private readonly database: DatabaseIndicator,
  ) {}

  /** Whether the process answers at all; a database that is away is no reason to start it anew. */
  @Get('live')
  live() {
    return { status: 'ok' };
  }

  /** Whether requests may be sent here; no longer from SIGTERM on. */
  @Get('ready')
  @HealthCheck()
  ready() {
    return this.health.check([() => this.database.check()]);
  }
}
