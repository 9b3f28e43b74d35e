import { type DynamicModule, Module } from '@nestjs/common';
import { TerminusModule } from '@nestjs/terminus';
import { DatabaseIndicator } from './database.indicator';
import { HealthController } from './health.controller';

@Module({ controllers: [HealthController], providers: [DatabaseIndicator] })
export class HealthModule {
  /** `shutdownDelayMs`: how long requests are still taken after SIGTERM, while readiness says no. */
  static forRoot(shutdownDelayMs: number): DynamicModule {
    return {
      module: HealthModule,
      imports: [TerminusModule.forRoot({ gracefulShutdownTimeoutMs: shutdownDelayMs })],
    };
  }
}
