export const instrumentation = 'betterSqlite3Instrumentation';

export async function connect() {
  // Loaded here: its native code ends a process of Node 20.
  if (Number.parseInt(process.versions.node, 10) < 22) throw new Error('needs Node 22');
  const { default: Database } = await import('better-sqlite3');
  const db = new Database(':memory:');
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT)');
  db.prepare('INSERT INTO orders VALUES (1, ?)').run('first');
  const find = db.prepare('SELECT * FROM orders WHERE id = ?');
  return { query: () => find.get(1), close: () => db.close() };
}
