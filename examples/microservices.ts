// A message to another service carries the id of the request that sends it.
import { Controller, Get, Inject, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { type ClientProxy, ClientProxyFactory, MessagePattern, Transport } from '@nestjs/microservices';
import { AsyncContextModule, ContextLogger, MemorySink } from 'nestjs-async-context';
import type { AddressInfo, Server } from 'node:net';
import type { Observable } from 'rxjs';

const sink = new MemorySink();
const context = AsyncContextModule.forRoot({ propagate: { messages: true }, sinks: [sink] });
const address = { host: '127.0.0.1', port: 0 };
const options = { transport: Transport.TCP, options: address } as const;

@Controller()
class StockController {
  @MessagePattern('stock.of')
  stockOf(article: number): number {
    new Logger('Stock').log(`looking for article ${article}`);
    return 3;
  }
}
@Module({ imports: [context], controllers: [StockController] })
class StockModule {}

@Controller('orders')
class OrdersController {
  constructor(@Inject('STOCK') private readonly stock: ClientProxy) {}

  @Get()
  list(): Observable<number> {
    new Logger('Orders').log('asking for the stock');
    return this.stock.send<number>('stock.of', 7);
  }
}
@Module({
  imports: [context],
  controllers: [OrdersController],
  providers: [{ provide: 'STOCK', useFactory: () => ClientProxyFactory.create(options) }],
})
class OrdersModule {}

async function main(): Promise<void> {
  const logger = new ContextLogger({ short: true });
  const stock = await NestFactory.createMicroservice(StockModule, { ...options, logger });
  await stock.listen();
  address.port = (stock.unwrap<Server>().address() as AddressInfo).port;
  const orders = await NestFactory.create(OrdersModule, { logger });
  await orders.listen(0);
  await fetch(`${await orders.getUrl()}/orders`);
  await orders.close();
  await stock.close();
  const request = sink.records.find(({ kind }) => kind === 'http');
  const message = sink.records.find(({ kind }) => kind === 'rpc');
  console.log(`request ${request?.requestId} asked; the message came from ${message?.parentRequestId}`);
  process.exitCode = request !== undefined && message?.parentRequestId === request.requestId ? 0 : 1;
}
void main();
