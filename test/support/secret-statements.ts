/** A statement with a secret in each form that its dialect has for a literal. */
export interface SecretStatement {
  /** As `contextService.record()` is told. */
  readonly system: string;
  readonly text: string;
  /** How its session quotes, where that is not the default. */
  readonly mode?: QuotingMode;
}

/** What a server, a user or a connection string may set, and nothing in the text shows. */
export type QuotingMode =
  | 'standard_conforming_strings = off'
  | 'NO_BACKSLASH_ESCAPES'
  | 'ANSI_QUOTES'
  | 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'
  | 'MSSQL'
  | 'double-quoted strings'
  | 'QUOTED_IDENTIFIER OFF';

/** What none of them may leave behind: texts, numbers, hexadecimal digits, parts of a UUID. */
export const SECRETS = /hunter2|94008675309|beefcafe|4111-1111|c0ffee42/i;

const postgresql = [
  // Strings.
  `SELECT * FROM users WHERE password = 'hunter2'`,
  `SELECT * FROM users WHERE password = 'it''s hunter2'`,
  `SELECT * FROM users WHERE password = '' || 'hunter2'`,
  `SELECT * FROM users WHERE password = E'it\\'s hunter2'`,
  `SELECT * FROM users WHERE password = e'hunter2\\\\'`,
  `SELECT * FROM users WHERE password = E'\\x41' 'hunter2'`,
  `SELECT * FROM users WHERE password = 'a'\n  'hunter2'`,
  `SELECT * FROM users WHERE password = U&'\\0061hunter2'`,
  `SELECT * FROM users WHERE password = U&'d!0061hunter2' UESCAPE '!'`,
  `SELECT * FROM users WHERE password = N'hunter2'`,
  `SELECT * FROM users WHERE password = $$hunter2$$`,
  `SELECT * FROM users WHERE password = $tag$it's $$hunter2$$ $tag$`,
  `SELECT * FROM users WHERE password = $été$hunter2$été$`,
  `SELECT * FROM users WHERE flags = B'1010' AND key = X'beefcafe'`,
  `SELECT * FROM users WHERE key = '\\xbeefcafe'::bytea`,
  `SELECT * FROM users WHERE key = bytea '\\xbeefcafe'`,
  `SELECT * FROM users WHERE key = decode('beefcafe', 'hex')`,
  `SELECT * FROM users WHERE path = 'C:\\' AND password = 'hunter2'`,
  `SELECT 'hunter2`,
  `SELECT $$hunter2`,
  `SELECT E'hunter2\\'`,
  // Numbers.
  `SELECT * FROM cards WHERE number = 94008675309`,
  `SELECT * FROM cards WHERE number = -94008675309`,
  `SELECT * FROM cards WHERE number = 94008675309.25e10`,
  `SELECT * FROM cards WHERE number = 0xbeefcafe`,
  `SELECT * FROM cards WHERE number = 94008675309::numeric`,
  `SELECT * FROM cards WHERE number=94008675309OR id=1`,
  `SELECT * FROM cards LIMIT 94008675309 OFFSET 94008675309`,
  `SELECT * FROM cards FETCH FIRST 94008675309 ROWS ONLY`,
  `SELECT * FROM cards WHERE number BETWEEN 94008675309 AND 94008675309 + 1`,
  // Lists, rows, casts.
  `SELECT * FROM users WHERE token IN ('hunter2', 'hunter2b', 'hunter2c')`,
  `SELECT * FROM users WHERE token = ANY(ARRAY['hunter2', 'hunter2b'])`,
  `SELECT * FROM users WHERE token = ANY('{hunter2,hunter2b}'::text[])`,
  `SELECT * FROM users WHERE (name, token) = ('bob', 'hunter2')`,
  `SELECT * FROM users WHERE (name, token) IN (('bob', 'hunter2'), ('eve', 'hunter2b'))`,
  `SELECT ROW('hunter2', 94008675309)`,
  `SELECT CAST('hunter2' AS text), 'hunter2'::varchar(20), text 'hunter2'`,
  `SELECT inet '10.0.0.1', date '2026-11-21', interval 'hunter2'`,
  `SELECT * FROM (VALUES ('hunter2', 1), ('hunter2b', 2)) AS t (token, n)`,
  `SELECT array_fill('hunter2'::text, ARRAY[94008675309])`,
  // Comparisons.
  `SELECT * FROM users WHERE token LIKE 'hunter2%'`,
  `SELECT * FROM users WHERE token LIKE '%!hunter2' ESCAPE '!'`,
  `SELECT * FROM users WHERE token ILIKE '%hunter2%' OR token SIMILAR TO '(hunter2|x)%'`,
  `SELECT * FROM users WHERE token ~* '^hunter2$'`,
  `SELECT * FROM users WHERE token IS DISTINCT FROM 'hunter2'`,
  `SELECT * FROM users WHERE token BETWEEN 'hunter2' AND 'hunter2z'`,
  `SELECT CASE WHEN token = 'hunter2' THEN 'hunter2b' ELSE 'hunter2c' END FROM users`,
  `SELECT count(*) FILTER (WHERE token = 'hunter2') OVER (PARTITION BY id = 94008675309) FROM users`,
  `SELECT * FROM users ORDER BY token = 'hunter2' DESC`,
  `SELECT id, 'hunter2' AS token FROM users GROUP BY id HAVING max(token) > 'hunter2'`,
  `SELECT * FROM users u JOIN keys k ON k.token = 'hunter2' AND k.user_id = u.id`,
  `SELECT * FROM users UNION ALL SELECT 1, 'hunter2'`,
  `WITH secret AS (SELECT 'hunter2' AS token) SELECT * FROM secret WHERE token <> 'hunter2'`,
  `SELECT * FROM users TABLESAMPLE BERNOULLI (1) REPEATABLE (94008675309)`,
  `SELECT * FROM users WHERE to_tsvector(note) @@ to_tsquery('english', 'hunter2 & x')`,
  // JSON.
  `SELECT * FROM users WHERE data @> '{"password": "hunter2"}'`,
  `SELECT data->>'hunter2' FROM users WHERE data #>> '{a,hunter2}' = 'x'`,
  `SELECT * FROM users WHERE data ? 'hunter2' OR data ?| array['hunter2', 'x']`,
  `SELECT jsonb_path_query(data, '$.a ? (@ == "hunter2")') FROM users`,
  `SELECT json_build_object('password', 'hunter2', 'n', 94008675309)`,
  `UPDATE users SET data = jsonb_set(data, '{password}', '"hunter2"') WHERE id = 1`,
  `SELECT xmlparse(content '<password>hunter2</password>')`,
  // Writes.
  `INSERT INTO users (name, password) VALUES ('bob', 'hunter2')`,
  `INSERT INTO users (name, password) VALUES ('a', 'hunter2'), ('b', 'hunter2b'), ('c', NULL), ('d', DEFAULT)`,
  `INSERT INTO users VALUES ${Array.from({ length: 300 }, (_, i) => `(${i}, 'hunter2-${i}')`).join(', ')}`,
  `INSERT INTO users (password) VALUES ('hunter2') ON CONFLICT (name) DO UPDATE SET password = 'hunter2b' RETURNING 'hunter2c'`,
  `UPDATE users SET password = 'hunter2', salt = $$hunter2$$ WHERE id = 94008675309`,
  `UPDATE users SET (password, salt) = ('hunter2', E'\\nhunter2')`,
  `DELETE FROM users USING keys WHERE keys.token = 'hunter2'`,
  `MERGE INTO users u USING keys k ON k.id = u.id WHEN MATCHED AND k.token = 'hunter2' THEN UPDATE SET password = 'hunter2' WHEN NOT MATCHED THEN INSERT VALUES (1, 'hunter2')`,
  `COPY users FROM STDIN WITH (FORMAT csv, DELIMITER ';', NULL 'hunter2')`,
  `COPY users (name, password) FROM stdin;\nbob\thunter2\neve\thunter2b\n\\.\n`,
  `COPY users FROM STDIN;\nhunter2\n\\.`,
  `COPY (SELECT * FROM users WHERE token = 'hunter2') TO STDOUT`,
  `COPY users FROM PROGRAM 'curl -u bob:hunter2 http://example.com'`,
  // Accounts.
  `CREATE USER bob WITH PASSWORD 'hunter2'`,
  `CREATE ROLE bob LOGIN ENCRYPTED PASSWORD 'hunter2' VALID UNTIL '2030-01-01'`,
  `ALTER ROLE bob PASSWORD 'hunter2'`,
  `ALTER USER bob WITH PASSWORD E'hunter2\\\\'`,
  `ALTER ROLE bob SET app.api_key = 'hunter2'`,
  `ALTER ROLE bob SET app.api_key TO hunter2`,
  `ALTER DATABASE shop SET app.api_key = hunter2`,
  `ALTER SYSTEM SET primary_conninfo = 'host=db password=hunter2'`,
  `ALTER FUNCTION f() SET app.api_key TO hunter2`,
  `CREATE FUNCTION f() RETURNS text LANGUAGE sql SET app.api_key = hunter2 AS 'SELECT 1'`,
  `SET app.api_key = 'hunter2'`,
  `SET app.api_key TO hunter2`,
  `SET LOCAL app.api_key = hunter2, 'hunter2'`,
  `SET SESSION AUTHORIZATION 'hunter2'`,
  `SELECT set_config('app.api_key', 'hunter2', false)`,
  `SELECT crypt('hunter2', gen_salt('bf')), pgp_sym_decrypt(data, 'hunter2') FROM users`,
  // Connections.
  `CREATE SUBSCRIPTION s CONNECTION 'host=db user=bob password=hunter2' PUBLICATION p`,
  `CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (host 'db', password 'hunter2')`,
  `CREATE USER MAPPING FOR bob SERVER s OPTIONS (user 'bob', password 'hunter2')`,
  `ALTER USER MAPPING FOR bob SERVER s OPTIONS (SET password 'hunter2')`,
  `SELECT * FROM dblink('postgresql://bob:hunter2@db/shop', 'SELECT 1') AS t (id int)`,
  // Prepared statements, cursors, blocks.
  `PREPARE find (text) AS SELECT * FROM users WHERE token = $1 OR token = 'hunter2'`,
  `EXECUTE find ('hunter2')`,
  `PREPARE TRANSACTION 'hunter2'`,
  `DECLARE c CURSOR FOR SELECT * FROM users WHERE token = 'hunter2'`,
  `EXPLAIN ANALYZE SELECT * FROM users WHERE token = 'hunter2'`,
  `DO $$ BEGIN PERFORM 'hunter2'; END $$`,
  `CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $body$ SELECT 'hunter2' $body$`,
  `CALL pay('hunter2', 94008675309)`,
  `NOTIFY payments, 'hunter2'`,
  `SELECT pg_notify('payments', 'hunter2')`,
  // Definitions.
  `CREATE TABLE t (token text DEFAULT 'hunter2' CHECK (token <> 'hunter2'), n int DEFAULT 94008675309)`,
  `CREATE TABLE t PARTITION OF users FOR VALUES FROM ('hunter2') TO ('hunter2z')`,
  `ALTER TABLE users ALTER COLUMN token SET DEFAULT 'hunter2'`,
  `CREATE INDEX i ON users (token) WHERE token = 'hunter2'`,
  `CREATE TYPE mood AS ENUM ('hunter2', 'hunter2b')`,
  `ALTER TYPE mood ADD VALUE 'hunter2'`,
  `CREATE POLICY p ON users USING (token = 'hunter2')`,
  `CREATE VIEW v AS SELECT * FROM users WHERE token = 'hunter2'`,
  `COMMENT ON TABLE users IS 'hunter2'`,
  // Comments.
  `SELECT 1 -- hunter2`,
  `SELECT 1 -- hunter2\n, token FROM users`,
  `SELECT /* hunter2 */ token FROM users /* /* hunter2 */ hunter2 */`,
  `SELECT 1 /* hunter2`,
  `/* user=hunter2 */ SELECT * FROM users`,
  `-- hunter2\nSELECT * FROM users`,
  `SELECT 1 --hunter2\r, token FROM users`,
  // Several at once, and what is not well-formed.
  `SELECT 1; SELECT 'hunter2'; SELECT 94008675309`,
  `SELECT * FROM users WHERE token = 'a' 'hunter2'`,
  `SELECT 1$$hunter2$$`,
  `SELECT 1E'hunter2'`,
  `SELECT $1'hunter2'`,
  `SELEKT 'hunter2' FORM users`,
];

const mysql = [
  `SELECT * FROM users WHERE password = 'hunter2'`,
  `SELECT * FROM users WHERE password = "hunter2"`,
  `SELECT * FROM users WHERE password = "it's ""hunter2"""`,
  `SELECT * FROM users WHERE password = 'it\\'s hunter2'`,
  `SELECT * FROM users WHERE password = "a\\"hunter2"`,
  `SELECT * FROM users WHERE password = 'a' "hunter2" 'b'`,
  `SELECT * FROM users WHERE password = _utf8mb4'hunter2' COLLATE utf8mb4_bin`,
  `SELECT * FROM users WHERE password = N'hunter2' OR password = n'hunter2'`,
  `SELECT * FROM users WHERE k = x'beefcafe' OR k = X'BEEFCAFE' OR k = 0xbeefcafe OR k = b'01'`,
  `SELECT * FROM cards WHERE number = 94008675309 OR number = -94008675309e3`,
  `SELECT * FROM \`users\` WHERE \`password\` IN ('hunter2', "hunter2b")`,
  `INSERT INTO users (password) VALUES ("hunter2"), ('hunter2b') ON DUPLICATE KEY UPDATE password = "hunter2"`,
  `INSERT INTO users SET name = "bob", password = 'hunter2'`,
  `REPLACE INTO users VALUES (1, "hunter2")`,
  `UPDATE users SET password = PASSWORD("hunter2") WHERE id = 94008675309 LIMIT 94008675309`,
  `CREATE USER 'bob'@'%' IDENTIFIED BY 'hunter2'`,
  `CREATE USER bob IDENTIFIED WITH mysql_native_password AS "hunter2"`,
  `ALTER USER bob IDENTIFIED BY "hunter2" REPLACE 'hunter2b'`,
  `SET PASSWORD FOR 'bob'@'localhost' = PASSWORD('hunter2')`,
  `GRANT ALL ON shop.* TO 'bob'@'%' IDENTIFIED BY 'hunter2'`,
  `CHANGE MASTER TO MASTER_HOST = 'db', MASTER_PASSWORD = 'hunter2'`,
  `CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (USER 'bob', PASSWORD 'hunter2')`,
  `LOAD DATA INFILE '/var/hunter2/x.csv' INTO TABLE users FIELDS TERMINATED BY 'hunter2'`,
  `SELECT AES_DECRYPT(data, 'hunter2') FROM users WHERE JSON_EXTRACT(data, "$.hunter2") = 1`,
  `SELECT data->"$.hunter2", data->>'$.hunter2' FROM users`,
  `SELECT 1 # hunter2`,
  `SELECT 1 -- hunter2`,
  `SELECT /* hunter2 */ 1 /*! , 'hunter2' */`,
  `SELECT /*+ SET_VAR(x = 'hunter2') */ * FROM users`,
  `SELECT * FROM users WHERE token LIKE "%hunter2%" ESCAPE "|"`,
  `PREPARE s FROM 'SELECT * FROM users WHERE token = "hunter2"'`,
  `SET @token = 'hunter2'`,
  `CALL pay("hunter2", 94008675309)`,
  `SELECT * FROM users WHERE d = DATE"2026-01-01" AND token REGEXP "hunter2"`,
];

const sqlite = [
  `SELECT * FROM users WHERE password = 'it''s hunter2'`,
  `SELECT * FROM users WHERE password = "hunter2"`,
  `SELECT * FROM users WHERE password IN ("hunter2", 'hunter2b')`,
  `INSERT INTO users VALUES ("hunter2", x'beefcafe', 94008675309)`,
  `SELECT * FROM users WHERE token LIKE "hunter2%"`,
  `SELECT * FROM users WHERE token GLOB 'hunter2*'`,
  `PRAGMA key = 'hunter2'`,
  `PRAGMA key = "x'beefcafe'"`,
  `ATTACH DATABASE 'file:x.db?key=hunter2' AS x KEY 'hunter2'`,
];

const mssql = [
  `SELECT * FROM [users] WHERE [password] = N'it''s hunter2'`,
  `SELECT TOP (94008675309) * FROM users WHERE k = 0xbeefcafe AND price = $94008675309`,
  `CREATE LOGIN bob WITH PASSWORD = N'hunter2'`,
  `CREATE LOGIN bob WITH PASSWORD = 0xbeefcafe HASHED`,
  `ALTER LOGIN bob WITH PASSWORD = 'hunter2' OLD_PASSWORD = 'hunter2b'`,
  `EXEC sp_addlogin @loginame = 'bob', @passwd = 'hunter2'`,
  `EXEC sp_executesql N'SELECT * FROM users WHERE token = @t', N'@t nvarchar(20)', @t = N'hunter2'`,
  `INSERT INTO users (password) OUTPUT 'hunter2' VALUES (N'hunter2')`,
  `SELECT * FROM users WHERE password = "hunter2"`,
  `CREATE DATABASE SCOPED CREDENTIAL c WITH IDENTITY = 'bob', SECRET = 'hunter2'`,
  `OPEN SYMMETRIC KEY k DECRYPTION BY PASSWORD = 'hunter2'`,
  `SELECT * FROM OPENROWSET('SQLNCLI', 'Server=db;Uid=bob;Pwd=hunter2;', 'SELECT 1')`,
  `DECLARE @token nvarchar(20) = N'hunter2'`,
];

const others: SecretStatement[] = [
  { system: 'oracle', text: `SELECT * FROM users WHERE token = q'[it's hunter2]'` },
  { system: 'oracle', text: `SELECT * FROM users WHERE token = nq'{hunter2}'` },
  { system: 'oracle', text: `CREATE USER bob IDENTIFIED BY hunter2` },
  { system: 'oracle', text: `ALTER USER bob IDENTIFIED BY "hunter2" REPLACE "hunter2b"` },
  { system: 'oracle', text: `CREATE DATABASE LINK l CONNECT TO bob IDENTIFIED BY hunter2 USING 'db'` },
  { system: 'oracle', text: `SET ROLE admin IDENTIFIED BY hunter2` },
  { system: 'cassandra', text: `SELECT * FROM users WHERE id = c0ffee42-e29b-41d4-a716-446655440000` },
  { system: 'cassandra', text: `SELECT * FROM users WHERE id IN (550e8400-e29b-41d4-a716-c0ffee420000)` },
  { system: 'cassandra', text: `UPDATE users SET m = {'hunter2': 94008675309}, k = 0xbeefcafe WHERE id = 1` },
  { system: 'cassandra', text: `CREATE ROLE bob WITH PASSWORD = 'hunter2' AND LOGIN = true` },
  { system: 'influxdb', text: `SELECT * FROM cpu WHERE host =~ /hunter2.*/` },
  { system: 'clickhouse', text: `SELECT * FROM users WHERE token = 'it\\'s hunter2' SETTINGS x = 'hunter2'` },
  { system: 'snowflake', text: `ALTER USER bob SET PASSWORD = 'hunter2', RSA_PUBLIC_KEY = 'hunter2'` },
  { system: 'bigquery', text: `SELECT * FROM users WHERE token = """hunter2""" OR token = r"hunter2"` },
  { system: 'bigquery', text: `SELECT * FROM users WHERE token = '''it's hunter2''' OR token = b"hunter2"` },
  { system: 'redshift', text: `COPY users FROM 's3://x' CREDENTIALS 'aws_secret_access_key=hunter2'` },
];

const r = String.raw;

const byMode: Readonly<Record<QuotingMode, readonly string[]>> = {
  'standard_conforming_strings = off': [
    r`SELECT * FROM users WHERE password = 'it\'s hunter2'`,
    r`SELECT * FROM users WHERE password = '\'hunter2'`,
    r`SELECT * FROM users WHERE password = 'it\'s hunter2' AND name = 'bob'`,
    r`SELECT * FROM users WHERE password = 'it\'s hunter2' AND name = 'it\'s bob'`,
    r`SELECT * FROM users WHERE password IN ('a\'hunter2', 'b\'hunter2', 'c\\')`,
    r`SELECT * FROM users WHERE password = 'a\\\'hunter2'`,
    r`SELECT * FROM users WHERE password = 'a\\' AND name = 'hunter2'`,
    r`SELECT * FROM users WHERE password = N'it\'s hunter2'`,
    r`SELECT * FROM users WHERE password = E'it\'s hunter2' AND name = 'it\'s hunter2'`,
    r`SELECT * FROM users WHERE password = 'a\'' 'b' AND name = 'hunter2'`,
    r`SELECT 'a\'' || 'hunter2' || '\'' FROM users`,
    r`INSERT INTO users (name, password) VALUES ('O\'Neill', 'hunter2'), ('it\'s', 'hunter2b')`,
    r`UPDATE users SET password = '\'hunter2\'' WHERE name = 'O\'Neill'`,
    r`DELETE FROM users WHERE password = 'x\' OR hunter2 = \'x'`,
    r`SELECT * FROM users WHERE password LIKE 'hunter2\\%' ESCAPE '\\' AND name = 'a\'hunter2'`,
    r`SELECT * FROM users WHERE data @> '{"password": "it\'s hunter2"}'`,
    r`SELECT 'a\'-- ', 'hunter2'`,
    r`SELECT 'a\'/* ', 'hunter2' /* */`,
    r`SELECT 'a\'$$', 'hunter2', '$$'`,
    r`SELECT 'a\'"', 'hunter2', '"'`,
    r`ALTER ROLE bob PASSWORD 'a\'hunter2'`,
    r`SET app.api_key = 'a\'hunter2'`,
    r`COMMENT ON TABLE users IS 'it\'s hunter2, isn\'t it'`,
    r`SELECT set_config('app.api_key', '\' hunter2 \'', false)`,
  ],
  NO_BACKSLASH_ESCAPES: [
    r`SELECT * FROM users WHERE path = 'C:\' AND password = 'hunter2'`,
    r`SELECT * FROM users WHERE path = 'C:\' AND password = 'x hunter2' AND name = 'D:\'`,
    r`SELECT * FROM users WHERE path = "C:\" AND password = "hunter2"`,
    r`SELECT * FROM users WHERE path = "C:\" AND password = 'hunter2'`,
    r`SELECT * FROM users WHERE path IN ('C:\', 'hunter2', "D:\", "hunter2b")`,
    r`SELECT * FROM users WHERE name = 'a\''hunter2'`,
    r`SELECT * FROM users WHERE name = "a\""hunter2"`,
    r`SELECT * FROM users WHERE name LIKE 'a' ESCAPE '\' AND password = 'hunter2'`,
    r`INSERT INTO users (path, password) VALUES ('C:\', 'hunter2'), ("D:\", "hunter2b")`,
    r`UPDATE users SET path = 'C:\', password = 'hunter2'`,
    r`SELECT 'a\', 'hunter2', "b\", "hunter2"`,
    r`SELECT '\', '# hunter2', '\'`,
    r`SELECT '\', '-- hunter2', '\'`,
    r`SELECT N'\', N'hunter2', _utf8mb4'\', _utf8mb4'hunter2'`,
    r`SET @path = '\', @token = 'hunter2'`,
  ],
  ANSI_QUOTES: [
    r`SELECT "a\", 'hunter2' FROM (SELECT 1 AS "a\") AS t`,
    r`SELECT 1 AS "a\", 'hunter2' AS "b"`,
    r`SELECT 1 AS "it's", 'hunter2' AS "it's too"`,
    r`SELECT "a", 'it\'s hunter2' FROM (SELECT 1 AS "a") AS "t"`,
    r`SELECT 1 AS "a\""", 'hunter2', 'x\'hunter2'`,
    r`INSERT INTO "users" ("name", "a\") VALUES ('bob', 'hunter2')`,
    r`SELECT 1 AS "\", '"hunter2"', "\"`,
  ],
  'ANSI_QUOTES,NO_BACKSLASH_ESCAPES': [
    r`SELECT 1 AS "a\", 'C:\' AS b, 'hunter2'`,
    r`SELECT 'C:\' AS "C:\", 'hunter2' AS "it's"`,
    r`INSERT INTO "users" ("path", "a\") VALUES ('C:\', 'hunter2')`,
    r`SELECT "a\" FROM (SELECT 'x hunter2' AS "a\") AS t WHERE 'C:\' <> 'hunter2'`,
  ],
  MSSQL: [
    r`SELECT 1 AS [it's], 'hunter2' AS [isn't]`,
    r`SELECT 1 AS [a"b], 'hunter2' AS [c"d]`,
    r`SELECT [it's] FROM (SELECT 'hunter2' AS [it's]) AS [t]`,
    r`SELECT 1 AS "a\", 'it\'s hunter2' AS [a]`,
  ],
  'double-quoted strings': [
    r`SELECT * FROM users WHERE password = "hunter2"`,
    r`SELECT * FROM users WHERE lower("hunter2") = lower(password)`,
    r`SELECT "hunter2" FROM users`,
    r`SELECT "hunter2" AS token, count(*) FROM users`,
    r`SELECT * FROM users WHERE password BETWEEN "hunter2" AND "hunter2z"`,
    r`SELECT * FROM users WHERE "hunter2" = password`,
    r`SELECT * FROM users WHERE password GLOB "hunter2*" OR password LIKE "hunter2%" ESCAPE "!"`,
    r`SELECT CASE WHEN password = "hunter2" THEN "hunter2b" ELSE "hunter2c" END FROM users`,
    r`SELECT coalesce(password, "hunter2"), max("hunter2", name) FROM users`,
    r`SELECT name || "hunter2" FROM users ORDER BY password = "hunter2"`,
    r`INSERT INTO users (name, password) SELECT "bob", "hunter2"`,
    r`INSERT INTO users (name, password) VALUES (lower("bob"), upper("hunter2"))`,
    r`UPDATE users SET password = upper("hunter2") WHERE name = "it's hunter2"`,
    r`DELETE FROM users WHERE coalesce("hunter2", password) = password`,
    r`SELECT * FROM (SELECT "hunter2" AS token) WHERE token = "hunter2"`,
    r`SELECT "" || "hunter2", "a""hunter2" FROM users`,
    r`SELECT json_object("password", "hunter2")`,
    r`SELECT strftime("%Y hunter2", "now")`,
    r`VALUES ("hunter2", 1), ("hunter2b", 2)`,
    r`ATTACH DATABASE "/nowhere/hunter2" AS x`,
    r`SELECT * FROM users GROUP BY "hunter2" HAVING "hunter2" > name LIMIT 1`,
  ],
  'QUOTED_IDENTIFIER OFF': [
    r`SELECT * FROM users WHERE lower("hunter2") = password`,
    r`SELECT "hunter2", "it's hunter2" FROM users`,
    r`SELECT TOP (1) [name] FROM [users] WHERE [password] BETWEEN "hunter2" AND "hunter2z"`,
    r`EXEC sp_addlogin "bob", "hunter2"`,
    r`EXEC sp_addlogin bob, "hunter2"`,
    r`PRINT "hunter2"`,
    r`RAISERROR ("hunter2", 16, 1)`,
    r`INSERT INTO users SELECT "bob", "hunter2"`,
    r`UPDATE users SET password = CONCAT("hunter2", name) WHERE name LIKE "hunter2%"`,
  ],
};

const SYSTEMS: Readonly<Record<QuotingMode, string>> = {
  'standard_conforming_strings = off': 'postgresql',
  NO_BACKSLASH_ESCAPES: 'mysql',
  ANSI_QUOTES: 'mysql',
  'ANSI_QUOTES,NO_BACKSLASH_ESCAPES': 'mysql',
  MSSQL: 'mysql',
  'double-quoted strings': 'sqlite',
  'QUOTED_IDENTIFIER OFF': 'mssql',
};

const of =
  (system: string) =>
  (text: string): SecretStatement => ({ system, text });

/** Statements that read otherwise where a session quotes otherwise. */
export const secretStatementsByMode: readonly Required<SecretStatement>[] = (
  Object.keys(byMode) as QuotingMode[]
).flatMap(mode => byMode[mode].map(text => ({ system: SYSTEMS[mode], text, mode })));

/** Statements that hold secrets. */
export const secretStatements: readonly SecretStatement[] = [
  ...postgresql.map(of('postgresql')),
  ...mysql.map(of('mysql')),
  ...sqlite.map(of('sqlite')),
  ...mssql.map(of('mssql')),
  ...others,
  ...secretStatementsByMode,
];
