import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { GraphQLModule } from '@nestjs/graphql';
import { AsyncContextModule, type CostRecordSink } from 'nestjs-async-context';
import type { Pool } from 'pg';
import { UserGuard } from './auth/user.guard';
import { CustomersModule } from './customers/customers.module';
import { DatabaseModule } from './database/database.module';
import { OrdersModule } from './orders/orders.module';
import { ReportsModule } from './reports/reports.module';
import { ShippingModule } from './shipping/shipping.module';
import { SlowModule } from './slow/slow.module';

@Module({})
export class AppModule {
  static forRoot(pool: Pool, sink: CostRecordSink): DynamicModule {
    return {
      module: AppModule,
      imports: [
        AsyncContextModule.forRoot({
          budget: { queries: 100 },
          serverTiming: true,
          trace: true,
          sinks: [sink],
          sinkQueue: { intervalMs: 500 },
        }),
        GraphQLModule.forRoot<ApolloDriverConfig>({ driver: ApolloDriver, autoSchemaFile: true }),
        DatabaseModule.forRoot(pool),
        CustomersModule,
        OrdersModule,
        ReportsModule,
        ShippingModule,
        SlowModule,
      ],
      providers: [{ provide: APP_GUARD, useClass: UserGuard }],
    };
  }
}
