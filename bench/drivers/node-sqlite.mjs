export const instrumentation = 'nodeSqliteInstrumentation';

export async function connect() {
  const { DatabaseSync } = await import('node:sqlite');
  const db = new DatabaseSync(':memory:');
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)');
  db.prepare('INSERT INTO orders VALUES (1, ?)').run('first');
  const find = db.prepare('SELECT * FROM orders WHERE id = ?');
  return { query: () => find.get(1), close: () => db.close() };
}
