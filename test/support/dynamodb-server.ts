/**
 * A stand-in for DynamoDB: what the client says on the wire (JSON 1.0, `x-amz-target`), answered from
 * memory as documented at https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/. It knows the
 * key `id`, no expressions, and answers by the name of a table: `slow-…` waits, `broken-…` fails,
 * `shaky-…` fails once, `cut-…` breaks the connection, `none-…` does not exist.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

type Json = Record<string, unknown>;
type Item = Record<string, { readonly S?: string; readonly N?: string }>;

export interface DynamodbServer {
  readonly url: string;
  /** How often it was asked. */
  readonly asked: () => number;
  close(): Promise<void>;
}

/** A key that BatchWriteItem leaves over once. */
export const LEFT_OVER = 'left-over';

function answerer() {
  const tables = new Map<string, Map<string, Item>>();
  const itemsOf = (table: unknown): Map<string, Item> => {
    const name = String(table).split('/').at(-1)!;
    const items = tables.get(name) ?? new Map<string, Item>();
    tables.set(name, items);
    return items;
  };
  const idOf = (item: unknown): string => (item as Item)['id']!.S!;
  const tablesIn = (input: Json): [string, unknown][] =>
    Object.entries((input['RequestItems'] ?? {}) as Json);

  function page(input: Json): Json {
    const all = [...itemsOf(input['TableName']).values()];
    const start = input['ExclusiveStartKey'] as Item | undefined;
    const from = start === undefined ? 0 : all.findIndex(item => idOf(item) === idOf(start)) + 1;
    const items = all.slice(from, from + Number(input['Limit'] ?? all.length));
    const last = items.at(-1);
    const isLast = from + items.length >= all.length;
    return {
      Count: items.length,
      ScannedCount: items.length,
      ...(input['Select'] === 'COUNT' ? {} : { Items: items }),
      ...(isLast || last === undefined ? {} : { LastEvaluatedKey: { id: last['id'] } }),
    };
  }

  return (operation: string, input: Json): Json => {
    const items = itemsOf(input['TableName']);
    switch (operation) {
      case 'PutItem':
        items.set(idOf(input['Item']), input['Item'] as Item);
        return {};
      case 'GetItem': {
        const item = items.get(idOf(input['Key']));
        return item === undefined ? {} : { Item: item };
      }
      case 'UpdateItem':
        return {};
      case 'DeleteItem':
        items.delete(idOf(input['Key']));
        return {};
      case 'Query':
      case 'Scan':
        return page(input);
      case 'BatchGetItem':
        return {
          Responses: Object.fromEntries(
            tablesIn(input).map(([table, request]) => [
              table,
              (request as { Keys: Item[] }).Keys.map(key => itemsOf(table).get(idOf(key))).filter(Boolean),
            ]),
          ),
          UnprocessedKeys: {},
        };
      case 'BatchWriteItem': {
        const left: Json = {};
        for (const [table, requests] of tablesIn(input)) {
          for (const request of requests as { PutRequest?: { Item: Item } }[]) {
            const item = request.PutRequest?.Item;
            if (item !== undefined && idOf(item) === LEFT_OVER) left[table] = [request];
            else if (item !== undefined) itemsOf(table).set(idOf(item), item);
          }
        }
        return { UnprocessedItems: left };
      }
      case 'TransactWriteItems':
        return {};
      case 'TransactGetItems':
        return {
          Responses: (input['TransactItems'] as { Get: { TableName: string; Key: Item } }[]).map(
            ({ Get: get }) => {
              const item = itemsOf(get.TableName).get(idOf(get.Key));
              return item === undefined ? {} : { Item: item };
            },
          ),
        };
      case 'ExecuteStatement':
        return { Items: [{ id: { S: '1' } }, { id: { S: '2' } }] };
      case 'BatchExecuteStatement':
        return { Responses: [{ Item: { id: { S: '1' } } }, {}] };
      case 'DescribeTable':
        return { Table: { TableName: input['TableName'], TableStatus: 'ACTIVE' } };
      case 'ListTables':
        return { TableNames: [...tables.keys()] };
      default:
        return {};
    }
  };
}

export async function startDynamodb(): Promise<DynamodbServer> {
  const answer = answerer();
  const shaken = new Set<string>();
  const sockets = new Set<Socket>();
  let asked = 0;

  function reply(request: IncomingMessage, response: ServerResponse, text: string): void {
    const operation = String(request.headers['x-amz-target']).split('.')[1]!;
    const input = JSON.parse(text) as Json;
    const table = String(input['TableName'] ?? '');
    const send = (status: number, body: Json): void => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(JSON.stringify(body));
    };
    const fail = (status: number, type: string): void =>
      send(status, { __type: `com.amazonaws.dynamodb.v20120810#${type}`, message: 'as asked for' });
    if (table.startsWith('cut-')) return void request.socket.destroy();
    if (table.startsWith('none-')) return fail(400, 'ResourceNotFoundException');
    if (table.startsWith('broken-')) return fail(500, 'InternalServerError');
    if (table.startsWith('shaky-') && !shaken.has(table)) {
      shaken.add(table);
      return fail(500, 'InternalServerError');
    }
    let body: Json;
    try {
      body = answer(operation, input);
    } catch {
      return fail(400, 'ValidationException');
    }
    if (table.startsWith('slow-')) setTimeout(() => send(200, body), 60);
    else send(200, body);
  }

  const server = createServer((request, response) => {
    asked += 1;
    let text = '';
    request.on('data', chunk => (text += String(chunk))).on('end', () => reply(request, response, text));
  });
  server.on('connection', socket => {
    sockets.add(socket);
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket));
  });
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: () => asked,
    close: () =>
      new Promise<void>(resolve => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
