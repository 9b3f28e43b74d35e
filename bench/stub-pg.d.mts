import type { Client } from 'pg';

export const STATEMENT: string;
export function connectStub(rows?: number): Promise<Client>;
