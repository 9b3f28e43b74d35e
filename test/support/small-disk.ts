import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system in memory of so many bytes, which can be made read-only. */
export class SmallDisk {
  readonly folder = mkdtempSync(join(tmpdir(), 'nac-disk-'));

  constructor(bytes: number) {
    mount('-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', this.folder);
  }

  setReadOnly(isReadOnly: boolean): void {
    mount('-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, this.folder);
  }

  remove(): void {
    execFileSync('umount', ['--lazy', this.folder]);
    rmSync(this.folder, { recursive: true });
  }
}

function mount(...args: string[]): void {
  execFileSync('mount', args, { stdio: 'ignore' });
}

function canMount(): boolean {
  try {
    new SmallDisk(65_536).remove();
    return true;
  } catch {
    return false;
  }
}

/** Only root may mount. */
export const hasSmallDisks = Boolean(process.env['CI']) || canMount();
if (!hasSmallDisks) console.warn('skipped: no right to mount a small disk; run the tests as root');
