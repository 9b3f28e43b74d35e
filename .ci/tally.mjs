// Adds up the steps of .ci/run and prints `N passed, N failed` as its last line.
import { existsSync, readFileSync } from 'node:fs';

// A report is Vitest's JSON or `{ passed, failed }`. A spec file that does not load has no test of its own.
function read(report) {
  const json = JSON.parse(readFileSync(report, 'utf8'));
  if (json.testResults === undefined) return { passed: json.passed, failed: json.failed, skipped: 0 };
  const broken = json.testResults.filter(
    file => file.status === 'failed' && !file.assertionResults.some(test => test.status === 'failed'),
  );
  return {
    passed: json.numPassedTests,
    failed: json.numFailedTests + broken.length,
    skipped: json.numPendingTests + json.numTodoTests,
  };
}

const sum = { passed: 0, failed: 0 };
for (const line of readFileSync(process.argv[2], 'utf8').trimEnd().split('\n')) {
  const [name, code, seconds, report] = line.split('\t');
  const counts = existsSync(report) ? read(report) : { passed: 0, failed: 0, skipped: 0 };
  if (report === '-' && code === '0') counts.passed = 1;
  // It broke without a failing test: no report, an unhandled rejection, the time limit.
  if (code !== '0' && counts.failed === 0) counts.failed = 1;
  sum.passed += counts.passed;
  sum.failed += counts.failed;
  const skipped = counts.skipped ? `, ${counts.skipped} skipped` : '';
  console.log(
    `${name.padEnd(28)}${seconds.padStart(5)} s  ${counts.passed} passed, ${counts.failed} failed${skipped}`,
  );
}
console.log(`\n${sum.passed} passed, ${sum.failed} failed`);
process.exitCode = sum.failed === 0 ? 0 : 1;
