import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** A child process that is asked one thing at a time over IPC, and that ends with this one. */
export class Child {
  #process;

  constructor(
    script,
    { args = [], execPath = process.execPath, execArgv = [], env = {}, output = 'inherit' } = {},
  ) {
    this.#process = fork(fileURLToPath(new URL(script, import.meta.url)), args, {
      execPath,
      execArgv,
      env: { ...process.env, NODE_ENV: 'production', ...env },
      stdio: ['ignore', output, output, 'ipc'],
    });
  }

  async ask(question, timeoutMs = 120_000) {
    const answer = this.answer(timeoutMs);
    this.#process.send(question);
    return answer;
  }

  answer(timeoutMs = 30_000) {
    return new Promise((resolve, reject) => {
      const settle = (finish, value) => {
        clearTimeout(timer);
        this.#process.off('message', onMessage).off('exit', onExit);
        finish(value);
      };
      const onMessage = message =>
        message.error ? settle(reject, new Error(message.error)) : settle(resolve, message);
      const onExit = code => settle(reject, new Error(`${this.#process.spawnargs.join(' ')} ended: ${code}`));
      const timer = setTimeout(() => {
        settle(reject, new Error(`${this.#process.spawnargs.join(' ')} has not answered in ${timeoutMs} ms`));
      }, timeoutMs);
      this.#process.on('message', onMessage).on('exit', onExit);
    });
  }

  end() {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return undefined;
    const ended = new Promise(resolve => this.#process.once('exit', resolve));
    this.#process.kill();
    return ended;
  }
}
