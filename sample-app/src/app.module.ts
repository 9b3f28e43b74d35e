import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { type DynamicModule, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { GraphQLModule } from '@nestjs/graphql';
import { AsyncContextModule, type AsyncContextOptions } from 'nestjs-async-context';
import type { Pool } from 'pg';
import { UserGuard } from './auth/user.guard';
import { CustomersModule } from './customers/customers.module';
import { DatabaseModule } from './database/database.module';
import { GuardedModule } from './guarded/guarded.module';
import { OrdersModule } from './orders/orders.module';
import { ReportsModule } from './reports/reports.module';
import { ShippingModule } from './shipping/shipping.module';
import { SlowModule } from './slow/slow.module';

@Module({})
export class AppModule {
  static forRoot(pool: Pool, options: AsyncContextOptions): DynamicModule {
    return {
      module: AppModule,
      imports: [
        AsyncContextModule.forRoot({
          budget: { queries: 100 },
          serverTiming: true,
          providerCalls: true,
          // Who is told the trace, and whose cost is read; here the shop itself.
          propagate: { hosts: ['127.0.0.1'] },
          sinkQueue: { intervalMs: 500 },
          // The demonstration begins at once; in production, the first seconds are no evidence.
          warmUpMs: 0,
          ...options,
        }),
        GraphQLModule.forRoot<ApolloDriverConfig>({
          driver: ApolloDriver,
          autoSchemaFile: true,
          // Else Apollo closes the server as soon as the application is to stop, before readiness says no.
          stopOnApplicationShutdown: true,
        }),
        DatabaseModule.forRoot(pool),
        CustomersModule,
        GuardedModule,
        OrdersModule,
        ReportsModule,
        ShippingModule,
        SlowModule,
      ],
      providers: [{ provide: APP_GUARD, useClass: UserGuard }],
    };
  }
}
