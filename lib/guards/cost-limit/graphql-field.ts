import type { ExecutionContext } from '@nestjs/common';

/** What graphql-js tells of a field: one object for each time that it is resolved. */
interface GraphqlField {
  readonly path: { readonly prev?: unknown };
}

/** The field of an operation that a guard of a resolver is asked for. */
export function fieldOf(execution: ExecutionContext): GraphqlField | undefined {
  if (execution.getType<string>() !== 'graphql') return undefined;
  const info = execution.getArgByIndex<GraphqlField | undefined>(3);
  return info?.path === undefined ? undefined : info;
}

/** Whether it lies below another one, and so is a part of what that one costs. */
export function isNested({ path }: GraphqlField): boolean {
  return path.prev !== undefined;
}
