/**
 * When an operation has been executed, for who asks: guards that want to know whether it works on after its
 * client has left. A promise would cost each operation three times as much.
 */
export class OperationEnd {
  #isOver = false;
  #waiting: (() => void)[] | undefined = undefined;

  // oxlint-disable-next-line unicorn/no-thenable -- it stands where a promise of a route does
  then(over: () => void): void {
    if (this.#isOver) queueMicrotask(over);
    else (this.#waiting ??= []).push(over);
  }

  end(): void {
    this.#isOver = true;
    for (const over of this.#waiting ?? []) over();
    this.#waiting = undefined;
  }
}
