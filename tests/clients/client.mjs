// Node's clients through the proxy: fetch, and http with a keep-alive agent and a raw upgrade.
//
//     node client.mjs BASE_URL PORT
//
// Serves an upgrade endpoint on PORT (the proxy routes /node to it). Prints one `ok` line a check; an assertion ends
// the run.

import assert from 'node:assert/strict';
import http from 'node:http';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

const [base, port] = [process.argv[2], Number(process.argv[3])];
const ok = (what) => console.log(`ok      ${what}`);
setTimeout(() => { console.error('60 s have passed: something hangs'); process.exit(1); }, 60_000).unref();

// An endpoint that takes any upgrade and sends every byte back, greeting first in the same write as the 101.
const server = http.createServer((request, response) => response.end(`plain ${request.url}`));
server.on('upgrade', (request, socket) => {
  socket.on('error', () => {});
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\nwelcome `);
  socket.pipe(socket);
});
server.listen(port, '127.0.0.1');
await once(server, 'listening');

// --- fetch
const names = [];
for (let i = 0; i < 99; i++) {
  const answer = await fetch(base, { headers: { accept: 'application/json' } });
  names.push((await answer.json()).endpoint);
}
for (const name of 'abc') assert.equal(names.filter((n) => n === name).length, 33, names.join(''));
ok('fetch: 99 requests, 33 an endpoint');

const many = await Promise.all(Array.from({ length: 200 }, (_, n) => fetch(`${base}/?n=${n}`).then((a) => a.text())));
assert(many.every((text) => text.startsWith('Hello from')));
ok('fetch: 200 requests at once');

const streamed = await fetch(base, {
  method: 'POST', duplex: 'half', headers: { accept: 'application/json' },
  body: Readable.toWeb(Readable.from((function* () { for (let i = 0; i < 20; i++) yield Buffer.alloc(70_000, i); })())),
});
assert.equal((await streamed.json()).body_bytes, 1_400_000);
ok('fetch: a streamed upload (chunked)');

assert.equal((await (await fetch(`${base}/big?size=20MiB`)).arrayBuffer()).byteLength, 20 << 20);
ok('fetch: a 20 MiB download');

const reader = (await fetch(`${base}/events?count=3&ms=400`)).body.getReader();
const first = Buffer.from((await reader.read()).value).toString();
assert.match(first, /event 1 of 3/);
const begin = Date.now();
let rest = '';
for (let piece; !(piece = await reader.read()).done;) rest += Buffer.from(piece.value).toString();
assert.match(rest, /event 3 of 3/);
assert(Date.now() - begin > 400, 'the first event waited for the others');
ok('fetch: server-sent events one by one');

const stop = new AbortController();
setTimeout(() => stop.abort(), 100);
await assert.rejects(fetch(`${base}/slow?ms=5000`, { signal: stop.signal }), { name: 'AbortError' });
assert.equal((await fetch(base)).status, 200);
ok('fetch: an aborted request, and the next one is served');

// --- http
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const ask = (path, options = {}, body) => new Promise((resolve, reject) => {
  const request = http.request(base + path, { agent, ...options }, async (response) => {
    resolve({ response, reused: request.reusedSocket, body: await buffer(response) });
  });
  request.on('error', reject);
  request.end(body);
});
const reused = [];
for (let i = 0; i < 20; i++) reused.push((await ask('/')).reused);
assert.deepEqual(reused.slice(1), Array(19).fill(true));
ok('http: an agent keeps one connection for 20 requests');

const head = await ask('/big', { method: 'HEAD' });
assert.equal(head.response.headers['content-length'], '10485760');
assert.equal(head.body.length, 0);
assert.equal((await ask('/')).reused, true);
ok('http: HEAD, and the connection goes on');
agent.destroy();

const large = Buffer.alloc(3_000_000, 'x');
const continued = await new Promise((resolve, reject) => {
  let told = false;
  const headers = { expect: '100-continue', 'content-length': large.length, accept: 'application/json' };
  const request = http.request(base, { method: 'POST', headers }, async (response) =>
    resolve({ told, report: JSON.parse(await buffer(response)) }));
  request.on('continue', () => { told = true; request.end(large); });
  request.on('error', reject);
  request.flushHeaders();
});
assert(continued.told);
assert.equal(continued.report.body_bytes, large.length);
ok('http: waits for 100 Continue, then sends');

assert.equal((await ask('/node/plain', { agent: undefined })).body.toString(), 'plain /node/plain');

const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
const upgrade = http.request(`${base}/node/socket`, { headers });
upgrade.end();
const [response, socket, early] = await once(upgrade, 'upgrade');
assert.equal(response.statusCode, 101);
let received = early.toString();
socket.on('data', (piece) => { received += piece; });
const until = async (condition) => { while (!condition()) await once(socket, 'data'); };
await until(() => received.length >= 'welcome '.length);
assert.equal(received, 'welcome ');
const payload = 'payload'.repeat(100_000);
socket.write(payload);
await until(() => received.length >= 'welcome '.length + payload.length);
assert.equal(received, `welcome ${payload}`);
ok('http: an upgraded connection carries bytes both ways, the first ones with the 101');
socket.end();
await once(socket, 'close');
ok('http: and it closes');

server.closeAllConnections();
server.close();
