import { type Id, type IdKind, type IdOf, uuidOf } from './ids';

export const WORDS = ['open', 'paid', 'packed', 'sent', 'returned', 'closed'];
export const ACTIONS = ['read', 'write', 'delete', 'approve'];
const COUNTS = { orders: 80, people: 60 };

type Cell = Id | boolean | null | readonly Id[] | object;
type Table = readonly [columns: string, rows: Cell[][]];

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const day = (n: number): string => new Date(Date.UTC(2026, 0, n)).toISOString().slice(0, 10);

/** The shop: about 25 tables of at most 240 rows. `ID` stands for the type of an id. */
export function tablesOf(id: IdOf): Record<string, Table> {
  const from = (table: string, count: number, row: (n: number) => Cell[]): Cell[][] =>
    range(count).map(n => [id(table, n), ...row(n)]);
  return {
    tenants: ['id ID, name text', from('tenants', 6, n => [`tenant ${n}`])],
    users: [
      'id ID, tenant_id ID, role_id ID, manager_id ID, email text',
      from('users', COUNTS.people, n => [
        id('tenants', 1 + (n % 6)),
        id('roles', 1 + ((n * 3) % 5)),
        id('users', 1 + ((n * 11) % COUNTS.people)),
        `user.${(n * 7919) % 10_007}@example.com`,
      ]),
    ],
    roles: ['id ID, name text', from('roles', 5, n => [`role ${n}`])],
    permissions: [
      'id ID, user_id ID, resource_id ID, action text',
      from('permissions', 120, n => [
        id('users', n <= 12 ? 1 : 2 + (n % 58)),
        id('orders', 1 + (n % COUNTS.orders)),
        ACTIONS[n % 4]!,
      ]),
    ],
    countries: ['id ID, name text', from('countries', 11, n => [`country ${n}`])],
    customers: [
      'id ID, name text, country_id ID, email text',
      from('customers', COUNTS.people, n => [
        `customer ${n}`,
        id('countries', 1 + ((n * 5) % 11)),
        `customer.${(n * 7919) % 10_007}@example.com`,
      ]),
    ],
    orders: [
      'id ID, buyer_id ID, seller_id ID, tenant_id ID, status text, placed_on date, total numeric(10,2), product_ids ID[], metadata jsonb',
      from('orders', COUNTS.orders, n => [
        id('customers', 1 + ((n * 7) % 53)),
        id('customers', 54 + (n % 5)),
        id('tenants', 1 + (n % 6)),
        WORDS[n % 6]!,
        day(1 + (n % 12)),
        `${(n * 379) % 997}.50`,
        [id('products', 1 + ((n * 13) % 90)), id('products', 1 + ((n * 13 + 5) % 90))],
        { couponId: id('coupons', 1 + ((n * 17) % 59)), gift: n % 2 === 0 },
      ]),
    ],
    order_items: [
      'id ID, order_id ID, product_id ID, sku text, quantity int',
      from('order_items', 200, n => [
        id('orders', 1 + ((n - 1) % COUNTS.orders)),
        id('products', 1 + ((n * 7) % 89)),
        `SKU-${String((n * 7919) % 100_003).padStart(6, '0')}`,
        1 + (n % 3),
      ]),
    ],
    products: [
      'id ID, name text, sku text, category_id ID, supplier_id ID, stock int',
      from('products', 90, n => [
        `product ${n}`,
        `SKU-${String((n * 7919) % 100_003).padStart(6, '0')}`,
        id('categories', 1 + ((n * 3) % 7)),
        id('suppliers', 1 + ((n * 11) % 29)),
        50 + n,
      ]),
    ],
    suppliers: ['id ID, name text', from('suppliers', 30, n => [`supplier ${n}`])],
    // A tree: four children each, of the second level on.
    categories: [
      'id ID, parent_id ID, name text',
      from('categories', 30, n => [
        n === 1 ? null : id('categories', Math.floor((n + 2) / 4)),
        `category ${n}`,
      ]),
    ],
    coupons: ['id ID, code text', from('coupons', 60, n => [`CODE${(n * 7919) % 10_007}`])],
    payments: ['id ID, order_id ID, amount int', from('payments', 80, n => [id('orders', n), n])],
    shipments: ['id ID, order_id ID, carrier text', from('shipments', 80, n => [id('orders', n), 'post'])],
    reviews: [
      'id ID, product_id ID, author_id ID, body text',
      from('reviews', 80, n => [
        id('products', 1 + ((n * 19) % 90)),
        id('customers', 1 + ((n * 23) % 59)),
        `review ${n}`,
      ]),
    ],
    posts: [
      'id ID, author_id ID, reviewer_id ID, approver_id ID, slug text, title text, year int, published_at timestamptz',
      from('posts', 60, n => [
        id('users', 1 + ((n * 17) % 59)),
        id('users', 1 + ((n * 5) % 59)),
        id('users', 1 + ((n * 29) % 59)),
        `how-to-${(n * 7919) % 10_007}`,
        `title ${n}`,
        2022 + (n % 5),
        new Date(Date.UTC(2026, 1, 1) + n * 7_919_003).toISOString(),
      ]),
    ],
    sitemap: [
      'id ID, slug text, changed_at timestamptz',
      from('sitemap', 60, n => [
        `how-to-${(n * 7919) % 10_007}`,
        new Date(Date.UTC(2026, 1, 1) + n * 7_919_003).toISOString(),
      ]),
    ],
    comments: [
      'id ID, post_id ID, author_id ID, body text',
      from('comments', 180, n => [
        id('posts', 1 + ((n - 1) % 60)),
        id('users', 1 + ((n * 31) % 59)),
        `comment ${n}`,
      ]),
    ],
    likes: [
      'id ID, comment_id ID, user_id ID',
      from('likes', 180, n => [id('comments', n), id('users', 1 + ((n * 7) % 59))]),
    ],
    warehouses: ['id ID, name text', from('warehouses', 4, n => [`warehouse ${n}`])],
    stock: [
      'warehouse_id ID, product_id ID, quantity int',
      range(90).map(n => [id('warehouses', 1 + (n % 4)), id('products', n), n * 10]),
    ],
    reservations: [
      'id ID, warehouse_id ID, product_id ID',
      from('reservations', 60, n => {
        const product = 1 + ((n * 37) % 90);
        return [id('warehouses', 1 + (product % 4)), id('products', product)];
      }),
    ],
    holidays: ['day date, name text', range(40).map(n => [day(n * 9 + ((n * 7) % 5)), `holiday ${n}`])],
    shifts: ['id ID, day date', from('shifts', 200, n => [day(n * 2)])],
    devices: ['id text, user_id ID', range(60).map(n => [uuidOf('device', n), id('users', n)])],
    pushes: ['id ID, device_id text', from('pushes', 60, n => [uuidOf('device', n)])],
    accounts: [
      'id bigint, name text',
      range(60).map(n => [String(7_000_000_000 + n * n * 977), `account ${n}`]),
    ],
    transfers: [
      'id bigint, account_id bigint, amount int',
      range(60).map(n => [n, String(7_000_000_000 + n * n * 977), n]),
    ],
    invoices: ['number numeric(20), name text', range(60).map(n => [String(20_260_000 + n * n * 31), 'i'])],
    invoice_lines: [
      'id ID, invoice_number numeric(20)',
      from('invoice_lines', 60, n => [String(20_260_000 + n * n * 31)]),
    ],
    documents: [
      'id ID, name text, body text, scan bytea',
      from('documents', 60, n => [`document ${n}`, 'x'.repeat(2_000), `\\x${'ab'.repeat(600)}`]),
    ],
    document_versions: [
      'id ID, document_id ID',
      from('document_versions', 60, n => [id('documents', 1 + ((n * 7) % 60))]),
    ],
    wide: [
      `id ID, ${range(45)
        .map(n => `a_rather_long_column_name_${n} int`)
        .join(', ')}`,
      from('wide', 60, n => range(45).map(column => column * n)),
    ],
    wide_details: ['id ID, wide_id ID', from('wide_details', 60, n => [id('wide', n)])],
    nodes: ['id ID, next_id ID', from('nodes', 60, n => [n === 60 ? null : id('nodes', n + 1)])],
    jobs: ['id ID, state text, progress int', from('jobs', 60, () => ['waiting', 0])],
    job_payloads: ['id ID, job_id ID', from('job_payloads', 60, n => [id('jobs', n)])],
    settings: [
      'key text, value text',
      ['currency', 'locale', 'theme', 'timezone', 'logo'].map(key => [key, `value of ${key}`]),
    ],
    rates: ['weight int, price int', range(20).map(n => [n, n * 3])],
    cache_entries: [
      'key text, value text',
      range(COUNTS.orders).map(n => [`order:${id('orders', n)}`, 'cached']),
    ],
    migrations: ['id int, name text', range(5).map(n => [n, `m${n}`])],
  };
}

/** What is written only: without keys, so that requests at once do not clash. */
const WRITTEN = `
  CREATE TABLE audit_log (id bigserial PRIMARY KEY, step int, message text);
  CREATE TABLE notifications (id ID DEFAULT FRESH, user_id ID);
  CREATE TABLE deliveries (notification_id ID, sent_at timestamptz);
  CREATE TABLE contacts (customer_id ID PRIMARY KEY);
  CREATE TABLE exports (order_id ID, format text);
  CREATE TABLE sessions (id text, user_id ID);
  CREATE FUNCTION items_of(wanted ID) RETURNS SETOF order_items LANGUAGE sql STABLE
    AS 'SELECT * FROM order_items WHERE order_id = wanted';
`;

/** The statements that make the shop in a schema of PostgreSQL. */
export function postgresSeed(kind: IdKind, schema: string, id: IdOf): string {
  const type = kind === 'uuid' ? 'uuid' : 'int';
  // A number that is irregular also where the rows are new.
  const fresh = {
    counted: "nextval('fresh')::int",
    irregular: '(random() * 2e9)::int',
    uuid: 'gen_random_uuid()',
  };
  const typed = (text: string): string =>
    text.replaceAll(/\bID\b/g, type).replaceAll(/\bFRESH\b/g, fresh[kind]);
  const tables = Object.entries(tablesOf(id)).map(
    ([name, [columns, rows]]) =>
      `CREATE TABLE ${name} (${typed(columns)}); INSERT INTO ${name} VALUES ${rows.map(postgresRow)};`,
  );
  return [
    `CREATE SCHEMA ${schema}; SET search_path TO ${schema};`,
    'CREATE SEQUENCE numbers; CREATE SEQUENCE fresh START 5000;',
    ...tables,
    typed(WRITTEN),
  ].join('\n');
}

function postgresRow(cells: readonly Cell[]): string {
  return `(${cells.map(postgresCell)})`;
}

function postgresCell(cell: Cell): string {
  if (cell === null) return 'NULL';
  if (Array.isArray(cell)) return `'{${cell.join(',')}}'`;
  if (typeof cell === 'object') return `'${JSON.stringify(cell)}'`;
  return typeof cell === 'string' ? `'${cell}'` : String(cell);
}

const IN_MARIADB = ['customers', 'countries', 'order_items', 'products', 'permissions', 'users'];

/** The statements that make a smaller shop in a database of MariaDB. */
export function mariadbSeed(kind: IdKind, id: IdOf): string[] {
  const type = kind === 'uuid' ? 'char(36)' : 'int';
  const tables = tablesOf(id);
  const statements = IN_MARIADB.flatMap(name => {
    const [columns, rows] = tables[name]!;
    return [
      `CREATE TABLE ${name} (${columns.replaceAll(/\bID\b/g, type)})`,
      `INSERT INTO ${name} VALUES ${rows.map(postgresRow)}`,
    ];
  });
  const orders = tables['orders']![1].map(cells => cells.slice(0, 7));
  return [
    ...statements,
    `CREATE TABLE orders (id ${type}, buyer_id ${type}, seller_id ${type}, tenant_id ${type}, status text, placed_on date, total decimal(10, 2))`,
    `INSERT INTO orders VALUES ${orders.map(postgresRow)}`,
    `CREATE TABLE exports (order_id ${type}, format text)`,
    'CREATE TABLE parcels (id binary(16), name text)',
    'CREATE TABLE scans (parcel_id binary(16), place text)',
    ...['parcels', 'scans'].map(
      name => `INSERT INTO ${name} VALUES ${range(60).map(n => `(${binaryUuid(n)}, 'somewhere')`)}`,
    ),
  ];
}

const binaryUuid = (n: number): string => `x'${uuidOf('parcel', n).replaceAll('-', '')}'`;
