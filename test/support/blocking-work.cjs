'use strict';
// Loaded as it is, so that its lines are those that V8 knows: Vitest compiles a spec, and moves its lines.
const { pbkdf2Sync } = require('node:crypto');

// Of this thread, where Node.js knows it.
const cpuUsage = process.threadCpuUsage ?? process.cpuUsage;
let rows;

/** Blocks the event loop; where, is told by the marks at the ends of lines. */
module.exports = {
  prepare() {
    rows = JSON.stringify(Array.from({ length: 1_500_000 }, (_, id) => ({ id, name: `row ${id}` })));
  },
  spin(ms) {
    // Of the processor: what else the machine does makes it no shorter.
    const before = cpuUsage(); // spin
    let used = cpuUsage(before); // spin
    while (used.user + used.system < ms * 1_000) used = cpuUsage(before); // spin
    return used.user;
  },
  parse() {
    const parsed = JSON.parse(rows); // parse
    return parsed.filter(row => row.id < 0).length; // parse
  },
  derive() {
    const key = pbkdf2Sync('secret', 'salt', 900_000, 64, 'sha512'); // derive
    return key.toString('hex').length; // derive
  },
};
