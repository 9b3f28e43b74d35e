import { BaseConnection, Client } from '@elastic/elasticsearch';

export const instrumentation = 'elasticsearchInstrumentation';

const hit = id => ({ _index: 'orders', _id: id, _source: { name: `order ${id}`, total: 10 } });
const body = JSON.stringify({
  hits: { total: { value: 3, relation: 'eq' }, hits: ['1', '2', '3'].map(hit) },
});
const headers = {
  'content-type': 'application/vnd.elasticsearch+json;compatible-with=9',
  'content-length': String(body.length),
  'x-elastic-product': 'Elasticsearch',
};

/** The real client, its transport and its serializer, on a connection that stays in the process. */
class StubConnection extends BaseConnection {
  async request() {
    return { statusCode: 200, headers, body };
  }

  async close() {}
}

export async function connect() {
  const client = new Client({ node: 'http://stub.example:9200', Connection: StubConnection });
  let customer = 0;
  return {
    query: () => client.search({ index: 'orders', query: { term: { customer: (customer += 1) } } }),
    close: () => client.close(),
  };
}
