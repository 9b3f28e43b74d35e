import { guiltyDrivers } from './guilty-drivers';
import { guiltyLists } from './guilty-lists';
import { guiltyOrms } from './guilty-orms';
import { guiltyValues } from './guilty-values';
import { guiltyWrites } from './guilty-writes';

/** Handlers with an N+1, each with what it is. */
export const guiltyHandlers = [
  ...guiltyLists,
  ...guiltyValues,
  ...guiltyWrites,
  ...guiltyOrms,
  ...guiltyDrivers,
];
