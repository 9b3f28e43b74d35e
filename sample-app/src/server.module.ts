import { type DynamicModule, Module, type OnApplicationShutdown } from '@nestjs/common';
import type { AsyncContextOptions } from 'nestjs-async-context';
import { Pool } from 'pg';
import { AppModule } from './app.module';
import { HealthModule } from './health/health.module';
import { MetricsController } from './metrics/metrics.controller';

/** The shop as it runs for long: with probes and metrics. */
@Module({ controllers: [MetricsController] })
export class ServerModule implements OnApplicationShutdown {
  constructor(private readonly pool: Pool) {}

  static forRoot(pool: Pool, options: AsyncContextOptions, shutdownDelayMs: number): DynamicModule {
    return {
      module: ServerModule,
      imports: [AppModule.forRoot(pool, options), HealthModule.forRoot(shutdownDelayMs)],
    };
  }

  async onApplicationShutdown(): Promise<void> {
    await this.pool.end();
  }
}
