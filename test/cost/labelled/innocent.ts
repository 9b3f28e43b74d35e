import { innocentFixed } from './innocent-fixed';
import { innocentLists } from './innocent-lists';
import { innocentLoops } from './innocent-loops';
import { innocentOrms } from './innocent-orms';

/** Handlers that repeat statements, and have no N+1. */
export const innocentHandlers = [...innocentLists, ...innocentFixed, ...innocentLoops, ...innocentOrms];
