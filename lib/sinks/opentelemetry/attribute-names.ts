/**
 * https://opentelemetry.io/docs/specs/semconv/registry/attributes/code/ (stable): class and method, as
 * Nest chose them.
 */
export const FUNCTION_NAME = 'code.function.name';
/** https://opentelemetry.io/docs/specs/semconv/registry/attributes/http/ (stable): the pattern. */
export const HTTP_ROUTE = 'http.route';

// What has no name there is under `nestjs.`.
export const KIND = 'nestjs.kind';
export const REQUEST_ID = 'nestjs.request.id';
export const DIMENSION = 'nestjs.budget.dimension';
export const USED = 'nestjs.budget.used';
export const LIMIT = 'nestjs.budget.limit';
export const FROM = 'nestjs.budget.from';
export const OWNER = 'nestjs.budget.owner';
export const CAUSE = 'nestjs.slow.cause';
/** Name of a span event and of a log record. */
export const BREACH_EVENT = 'nestjs.budget.breach';
/** Name of the meter and of the logger. */
export const SCOPE = 'nestjs-async-context';
