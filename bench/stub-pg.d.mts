import type { Client } from 'pg';

export const STATEMENT: string;
export function connectStub(): Promise<Client>;
