import { type DynamicModule, Module } from '@nestjs/common';
import type { Pool } from 'pg';
import { DatabaseModule } from '../database/database.module';
import { RecordsController } from './records.controller';
import { RecordsService } from './records.service';

/** Without a sink of its own: each message would become a record, and each record a message. */
@Module({ controllers: [RecordsController], providers: [RecordsService] })
export class RecordsModule {
  static forRoot(pool: Pool): DynamicModule {
    return { module: RecordsModule, imports: [DatabaseModule.forRoot(pool)] };
  }
}
