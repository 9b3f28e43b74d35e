import { createServer } from 'node:http';

/** Answers what @nestjs/observe sends: without a collector it would retry and complain. */
export async function startCollector() {
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.setHeader('content-type', 'application/json').end('{}'));
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return server;
}
