import { createRequire } from 'node:module';

/** A class of `@nestjs/microservices`, of which only the prototype is used here. */
export interface NestClass {
  readonly prototype: object;
}

/** The classes of `@nestjs/microservices` by name; an older version may lack some. */
export type Microservices = Readonly<Partial<Record<string, NestClass>>>;

/** The package that the application uses; nothing where it is not installed. */
export function loadMicroservices(): Microservices | undefined {
  try {
    // Written as it is, a bundler finds it, as it finds what Nest loads itself.
    return require('@nestjs/microservices') as Microservices;
  } catch {
    // Not installed: then there are no messages.
    return undefined;
  }
}

/** What `@nestjs/microservices` itself loads: the client of a transport may be installed beside it only. */
export function loadTransport(name: string): unknown {
  const { resolve } = createRequire(__filename);
  return createRequire(resolve('@nestjs/microservices'))(name) as unknown;
}
