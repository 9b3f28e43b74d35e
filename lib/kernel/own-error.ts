/**
 * An error in words of this package alone: they hold no value of the application and nothing that somebody
 * else has said, so that they may be logged.
 */
export class OwnError extends Error {}
