import { sep } from 'node:path';

const PACKAGES = `${sep}node_modules${sep}`;

/** Drivers, ORMs, Nest and what it stands on, and what runs an application: nobody's line is there. */
const PLUMBING: ReadonlySet<string> = new Set(
  (
    'pg pg-pool pg-cursor pg-query-stream pg-native pg-promise postgres mysql mysql2 mariadb tedious mssql oracledb ' +
    'better-sqlite3 sqlite3 sqlite mongodb mongodb-core bson ioredis redis cassandra-driver neo4j-driver tarn generic-pool ' +
    'typeorm typeorm-transactional prisma drizzle-orm knex kysely sequelize sequelize-typescript objection mongoose ' +
    'dataloader graphql mercurius express router fastify avvio rxjs tslib reflect-metadata bluebird zone.js ' +
    'nestjs-cls class-transformer class-validator undici axios bullmq kafkajs amqplib amqp-connection-manager ' +
    'cron socket.io ws vitest jest-circus jest-runner jest-runtime jest-jasmine2 mocha tsx ts-node ts-jest ' +
    'source-map-support core-js regenerator-runtime async nestjs-async-context ' +
    // What is asked before a handler, and has it on its stack.
    'body-parser raw-body on-finished on-headers finalhandler send serve-static cookie-parser cookie-session ' +
    'express-session cors helmet hpp compression multer busboy passport morgan method-override csurf connect ' +
    'connect-timeout response-time express-rate-limit express-slow-down express-openapi-validator express-winston ' +
    'http-proxy-middleware middie find-my-way light-my-request pino-http nestjs-pino cls-hooked cls-rtracer ' +
    'express-http-context graphql-http graphql-ws graphql-yoga graphql-jit graphql-upload dd-trace newrelic ' +
    'elastic-apm-node'
  ).split(' '),
);
const PLUMBING_SCOPES: ReadonlySet<string> = new Set(
  (
    '@nestjs @prisma @mikro-orm @typeorm @electric-sql @redis @apollo @as-integrations @graphql-tools @fastify ' +
    '@elastic @aws-sdk @smithy @opentelemetry @sentry @swc @swc-node @swc-helpers @babel @vitest @jest @nats-io ' +
    '@neondatabase @planetscale @libsql @grpc @golevelup'
  ).split(' '),
);

/** `@vendure/core` for a file of that package; `undefined` for one of the application. */
export function packageOf(file: string): string | undefined {
  const at = file.lastIndexOf(PACKAGES);
  if (at === -1) return undefined;
  const [first = '', second = ''] = file.slice(at + PACKAGES.length).split(sep, 2);
  return first.startsWith('@') ? `${first}/${second}` : first;
}

/** Whether no line of a package is what somebody looks for. Names with a dot are generated: `.prisma`. */
export function isPlumbing(name: string): boolean {
  return name.startsWith('.') || PLUMBING.has(name) || PLUMBING_SCOPES.has(name.slice(0, name.indexOf('/')));
}

/** What makes queries of what an application asks for, and has a way of its own to ask for all rows at once. */
export type OrmName =
  'typeorm' | 'prisma' | 'drizzle' | 'mikro-orm' | 'mongoose' | 'sequelize' | 'objection' | 'graphql';

const ORMS: Readonly<Record<string, OrmName>> = {
  typeorm: 'typeorm',
  'drizzle-orm': 'drizzle',
  mongoose: 'mongoose',
  sequelize: 'sequelize',
  objection: 'objection',
};

export function ormOf(name: string): OrmName | undefined {
  if (name.startsWith('@prisma/') || name === '.prisma') return 'prisma';
  return name.startsWith('@mikro-orm/') ? 'mikro-orm' : ORMS[name];
}
