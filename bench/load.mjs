/**
 * The client, a process of its own: 32 keep-alive connections or as many as asked for, one request in flight on each, over `node:net`.
 * It reads only what it must (status line and Content-Length), so that the server is what is measured.
 */
import { connect } from 'node:net';

const CONNECTIONS = 32;
const END_OF_HEADERS = Buffer.from('\r\n\r\n');
const OK = Buffer.from('HTTP/1.1 200');

/** The number of bytes of the response that starts at `start`, or -1 while it is incomplete. */
function responseLength(bytes, end) {
  const headersEnd = bytes.indexOf(END_OF_HEADERS);
  if (headersEnd === -1 || headersEnd >= end) return -1;
  const headers = bytes.latin1Slice(0, headersEnd);
  const match = /content-length: (\d+)/i.exec(headers);
  if (!bytes.subarray(0, OK.length).equals(OK) || !match) throw new Error(`unexpected response: ${headers}`);
  const length = headersEnd + END_OF_HEADERS.length + Number(match[1]);
  return end >= length ? length : -1;
}

function drive({ port, path, requests, connections = CONNECTIONS }) {
  const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  let left = requests;
  let open = Math.min(connections, requests);
  return new Promise((resolve, reject) => {
    const startedAt = process.hrtime.bigint();

    function openConnection() {
      const buffer = Buffer.alloc(65_536);
      let filled = 0;

      const socket = connect({
        port,
        host: '127.0.0.1',
        noDelay: true,
        onread: {
          buffer: Buffer.alloc(65_536),
          callback(count, bytes) {
            filled += bytes.copy(buffer, filled, 0, count);
            try {
              if (responseLength(buffer, filled) === -1) return;
            } catch (error) {
              reject(error);
              socket.destroy();
              return;
            }
            filled = 0;
            next();
          },
        },
      });

      function next() {
        if (left > 0) {
          left--;
          socket.write(request);
          return;
        }
        socket.destroy();
        if (--open === 0) resolve({ elapsedMs: Number(process.hrtime.bigint() - startedAt) / 1e6 });
      }

      socket.on('error', reject);
      socket.on('end', () => reject(new Error('the server closed a connection')));
      next();
    }

    for (let i = open; i > 0; i--) openConnection();
  });
}

process.on('disconnect', () => process.exit());
process.on('message', async job => {
  try {
    process.send(await drive(job));
  } catch (error) {
    process.send({ error: error.message });
  }
});
