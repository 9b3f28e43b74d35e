// What an application imports beside the root, each with the packages that it wants.
import { AsyncContextModule, type CostRecordSink } from 'nestjs-async-context';
import { ClientProxySink } from 'nestjs-async-context/microservices';
import { OpenTelemetrySink } from 'nestjs-async-context/opentelemetry';
import { contextMixin } from 'nestjs-async-context/pino';
import { PostgresSink, postgresMigrations } from 'nestjs-async-context/postgres';
import { PrometheusSink } from 'nestjs-async-context/prometheus';
import { contextFormat } from 'nestjs-async-context/winston';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { pino } from 'pino';
import { register } from 'prom-client';
import { createLogger, format, transports } from 'winston';

const client = (): ReturnType<typeof ClientProxyFactory.create> =>
  ClientProxyFactory.create({ transport: Transport.TCP });
const sinks: CostRecordSink[] = [
  new ClientProxySink({ client }),
  new OpenTelemetrySink(),
  new PostgresSink({ connection: 'postgres://postgres@127.0.0.1:1/none' }),
  new PrometheusSink(),
];
AsyncContextModule.forRoot({ sinks });
pino({ mixin: contextMixin(), level: 'silent' }).info('not written');
createLogger({
  silent: true,
  format: format.combine(contextFormat(), format.json()),
  transports: [new transports.Console()],
}).info('not written');

const names = sinks.map(({ name }) => name);
if (new Set(names).size !== sinks.length) throw new Error(`the names of the sinks: ${names.join(', ')}`);
if (postgresMigrations().length === 0) throw new Error('no migration');
if (register.getMetricsAsArray().length === 0) throw new Error('no metrics');
