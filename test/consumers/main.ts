import { deepStrictEqual, match, strictEqual } from 'node:assert/strict';
import { type Answer, ask } from './app.js';

const check = (answers: Answer[]): void => {
  for (const { body, header } of answers) {
    strictEqual(body, header);
    match(header ?? '', /^\S+$/);
  }
  deepStrictEqual(new Set(answers.map(answer => answer.body)).size, answers.length);
};

for (const platform of ['express', 'fastify']) {
  ask(platform, 8)
    .then(check)
    .catch((error: unknown) => {
      console.error(platform, error);
      process.exitCode = 1;
    });
}
