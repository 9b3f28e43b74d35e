import { type DynamicModule, Module } from '@nestjs/common';
import { Pool } from 'pg';

/** Gives the pool to whoever injects `Pool`. */
@Module({})
export class DatabaseModule {
  static forRoot(pool: Pool): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [{ provide: Pool, useValue: pool }],
      exports: [Pool],
    };
  }
}
