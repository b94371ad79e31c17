// Node's clients over TLS, each as a row of the matrix: https, http2, and fetch with the WebSocket that comes with it.
//
//     NODE_EXTRA_CA_CERTS=CA node client.mjs PORT
//
// A line a check, as in cells.py.

import assert from 'node:assert/strict';
import dns from 'node:dns';
import http2 from 'node:http2';
import https from 'node:https';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';

const port = Number(process.argv[2]);
const big = randomBytes(20 << 20);
const small = randomBytes(1000);
const late = 50;
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// The names of the certificates are in no DNS.
const lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name.endsWith('.test') ? '127.0.0.1' : name, ...rest);

async function* pieces(bytes, length = 70_000) {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

/// Lines of a stream, each with the time at which it was there.
async function arrivals(stream) {
  const lines = [];
  let rest = '';
  for await (const piece of stream) {
    const whole = (rest + Buffer.from(piece).toString()).split('\n');
    rest = whole.pop();
    for (const line of whole) lines.push([Date.now(), line]);
  }
  return lines;
}

// --- the clients: each has `ask`, which gives { status, version, headers, body, url }, and `stream` for a body that is read
// as it comes.

class Https {
  row = 'node-https-1.1';
  version = '1.1';
  agent = new https.Agent({ keepAlive: true, maxSockets: 50 });
  one = new https.Agent({ keepAlive: true, maxSockets: 1 });

  async begin(method, url, body, { headers = {}, agent = this.agent } = {}) {
    const request = https.request(url, { method, headers, agent });
    if (headers.expect) {
      request.flushHeaders();
      await once(request, 'continue');
    }
    if (body instanceof Readable) body.pipe(request);
    else request.end(body);
    const [response] = await once(request, 'response');
    return response;
  }

  async ask(method, url, body, options) {
    const response = await this.begin(method, url, body, options);
    const { statusCode: status, httpVersion: version, headers } = response;
    return { status, version, headers, body: await buffer(response), url };
  }

  stream(url) { return this.begin('GET', url); }
  close() { this.agent.destroy(); this.one.destroy(); }
}

class Http2 {
  row = 'node-http2-2';
  version = '2';
  sessions = new Map();

  async session(origin) {
    if (!this.sessions.has(origin)) {
      const session = http2.connect(origin);
      await once(session, 'connect');
      assert.equal(session.alpnProtocol, 'h2');
      this.sessions.set(origin, session);
    }
    return this.sessions.get(origin);
  }

  async begin(method, url, body, { headers = {} } = {}) {
    const { origin, pathname, search } = new URL(url);
    const session = await this.session(origin);
    const length = Buffer.isBuffer(body) ? { 'content-length': body.length } : {};
    const asked = { ':method': method, ':path': pathname + search, ...length, ...headers };
    const stream = session.request(asked, { endStream: body === undefined });
    if (headers.expect) await within(3000, once(stream, 'continue'));
    if (body instanceof Readable) body.pipe(stream);
    else if (body !== undefined) stream.end(body);
    const [got] = await once(stream, 'response');
    return { stream, got };
  }

  async ask(method, url, body, options) {
    const { stream, got } = await this.begin(method, url, body, options);
    return { status: got[':status'], version: '2', headers: got, body: await buffer(stream), url };
  }

  async stream(url) { return (await this.begin('GET', url)).stream; }
  close() { for (const session of this.sessions.values()) session.close(); }
}

class Fetch {
  row = 'node-fetch-1.1';
  version = '1.1';
  follows = true;

  begin(method, url, body, { headers = {} } = {}) {
    const sent = body instanceof Readable ? Readable.toWeb(body) : body;
    return fetch(url, { method, headers, body: sent, duplex: 'half' });
  }

  async ask(method, url, body, options) {
    const answer = await this.begin(method, url, body, options);
    const headers = Object.fromEntries(answer.headers);
    // It does not tell the version, and speaks no other.
    return { status: answer.status, version: '1.1', headers, body: Buffer.from(await answer.arrayBuffer()), url: answer.url };
  }

  async stream(url) { return (await this.begin('GET', url)).body; }
  close() {}
}

// --- the checks

const at = (row, target, { name = 'one.test', cell = '' } = {}) =>
  `https://${name}:${port}${target}${target.includes('?') ? '&' : '?'}row=${row}&cell=${cell}`;

const within = (milliseconds, promise) => Promise.race([promise, new Promise((_, reject) =>
  setTimeout(() => reject(new Error(`nothing within ${milliseconds} ms`)), milliseconds).unref())]);

async function cell(row, column, check) {
  try {
    console.log(`ok      ${row} | ${column} | ${await within(30_000, check())}`);
  } catch (error) {
    if (error instanceof Missing) return console.log(`no      ${row} | ${column} | ${error.message}`);
    console.log(`FAILED  ${row} | ${column} | ${error.message}\n        ${error.stack.replaceAll('\n', '\n        ')}`);
  }
}

function checks(client) {
  const { row } = client;
  const ask = async (method, target, body, options = {}) => {
    const answer = await client.ask(method, at(row, target, options), body, options);
    assert.equal(answer.version, client.version);
    return answer;
  };
  const report = async (method, target, body, options) => {
    const answer = await ask(method, target, body, options);
    assert.equal(answer.status, 200);
    const said = JSON.parse(answer.body);
    assert.deepEqual([said.version, said.scheme, said.method], ['HTTP/1.1', 'https', method]);
    return said;
  };
  const received = (said) => assert.deepEqual([said.body_bytes, said.sha256], [big.length, sha256(big)]);
  return {
    async GET() {
      assert.equal((await report('GET', '/report')).host, `one.test:${port}`);
      const missing = await ask('GET', '/fail?status=418');
      assert.deepEqual([missing.status, missing.body.toString()], [418, 'this is a 418']);
      return '200, 418';
    },
    async POST() {
      const answer = await ask('POST', '/echo', small);
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body, small);
      return `${small.length} bytes there and back`;
    },
    async upload() {
      received(await report('POST', '/report', big));
      return '20 MiB';
    },
    async 'streamed upload'() {
      received(await report('POST', '/report', Readable.from(pieces(big))));
      return '20 MiB in pieces';
    },
    async download() {
      const answer = await ask('GET', `/bytes?size=${20 << 20}`);
      assert.deepEqual([answer.status, answer.body.length], [200, 20 << 20]);
      assert.equal(sha256(answer.body), answer.headers['x-sha256']);
      return '20 MiB';
    },
    async redirect() {
      let answer = await ask('GET', '/redirect?to=there');
      if (!client.follows) {
        assert.equal(answer.status, 307);
        const { location } = answer.headers;
        answer = { ...await client.ask('GET', location), url: location };
      }
      assert.equal(answer.status, 200);
      assert(answer.url.startsWith(`https://one.test:${port}/report?to=there`), answer.url);
      return `307, to the proxy by https${client.follows ? ', followed' : ''}`;
    },
    async HEAD() {
      const answer = await ask('HEAD', '/bytes?size=1234567');
      assert.deepEqual([answer.status, answer.headers['content-length'], answer.body.length], [200, '1234567', 0]);
      assert.deepEqual((await ask('GET', '/bytes?size=10')).body, Buffer.alloc(10));
      return 'a length, no body, and the next request is served';
    },
    async 'keep-alive'() {
      for (let number = 0; number < 20; number++) {
        const said = await report('GET', `/report?number=${number}`, undefined, { cell: 'keep-alive', agent: client.one });
        assert(said.query.startsWith(`number=${number}&`), said.query);
      }
      return '20 requests';
    },
    async names() {
      for (const name of ['one.test', 'two.test']) {
        assert.equal((await report('GET', '/report', undefined, { name })).host, `${name}:${port}`);
      }
      await assert.rejects(ask('GET', '/report', undefined, { name: 'three.test' }), (error) => {
        assert.equal((error.cause ?? error).code, 'ERR_TLS_CERT_ALTNAME_INVALID');
        return true;
      });
      return 'two names, each with its certificate; a third one is refused';
    },
    async parallel() {
      await Promise.all(Array.from({ length: 200 }, async (_, number) => {
        const body = Buffer.from(`${row} ${number}\n`.repeat(1000));
        const answer = await ask('POST', `/echo?number=${number}`, body, { cell: 'parallel' });
        assert.equal(answer.status, 200);
        assert.deepEqual(answer.body, body);
      }));
      return '200 at once, none mixed up';
    },
    async events() {
      let worst;
      for (let attempt = 0; attempt < 3; attempt++) {
        const lines = await arrivals(await client.stream(at(row, '/events?count=20&ms=50')));
        const delays = lines.filter(([, line]) => line.startsWith('data: ')).map(([now, line]) => now - 1000 * line.slice(6));
        assert.equal(delays.length, 20);
        worst = Math.max(...delays);
        if (worst < late) return `20, the latest after ${worst.toFixed(0)} ms`;
      }
      assert.fail(`an event came ${worst.toFixed(0)} ms after it was sent`);
    },
  };
}

/// What is known not to be there.
class Missing extends Error {}

const expects = (client) => async () => {
  const headers = { expect: '100-continue', 'content-length': big.length };
  const asking = client.ask('POST', at(client.row, '/report'), big, { headers });
  const answer = await (client.version === '2' ? asking.catch(({ message }) => { throw new Missing(message); }) : asking);
  assert.deepEqual([answer.status, JSON.parse(answer.body).body_bytes], [200, big.length]);
  return '20 MiB after 100 Continue';
};

const text = Buffer.from('hello');
// With zeros as mask, masked is what was.
const sentFrame = Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]);
const echoedFrame = Buffer.concat([Buffer.from([0x81, text.length]), text]);

/// One frame of text, which has to come back.
async function echo(socket) {
  socket.write(sentFrame);
  let frame = Buffer.alloc(0);
  while (frame.length < echoedFrame.length) frame = Buffer.concat([frame, (await once(socket, 'data'))[0]]);
  assert.deepEqual(frame, echoedFrame);
  socket.destroy();
}

/// A WebSocket by hand, over HTTP/1.1.
async function upgrade() {
  const key = randomBytes(16).toString('base64');
  const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': key };
  const request = https.request(at('node-https-1.1', '/socket'), { headers });
  request.end();
  const [response, socket] = await once(request, 'upgrade');
  assert.equal(response.statusCode, 101);
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  assert.equal(response.headers['sec-websocket-accept'], accept);
  await echo(socket);
  return 'an upgrade, and a frame there and back';
}

/// A WebSocket by hand, over HTTP/2 (RFC 8441): a stream beside others.
const extendedConnect = (client) => async () => {
  const { origin, pathname, search } = new URL(at(client.row, '/socket'));
  const session = await client.session(origin);
  if (!session.remoteSettings.enableConnectProtocol) await once(session, 'remoteSettings');
  assert(session.remoteSettings.enableConnectProtocol, 'it is not offered');
  const asked = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': pathname + search, 'sec-websocket-version': '13' };
  const stream = session.request(asked, { endStream: false });
  const [got] = await once(stream, 'response');
  assert.equal(got[':status'], 200);
  await echo(stream);
  assert.equal((await client.ask('GET', at(client.row, '/report'))).status, 200);
  return 'an extended CONNECT, and a frame there and back';
};

async function webSocket() {
  const socket = new WebSocket(at('node-fetch-1.1', '/socket').replace('https:', 'wss:'));
  socket.binaryType = 'arraybuffer';
  const next = (what) => new Promise((resolve, reject) => {
    socket.addEventListener(what, resolve, { once: true });
    socket.addEventListener('error', (event) => reject(event.error ?? new Error('error event')), { once: true });
  });
  await next('open');
  for (const message of ['hello', big.subarray(0, 1 << 20)]) {
    const echoed = next('message');
    socket.send(message);
    const { data } = await echoed;
    assert.deepEqual(typeof data === 'string' ? data : Buffer.from(data), message);
  }
  const closed = next('close');
  socket.send('bye');
  assert.equal((await closed).code, 4001);
  return 'text, 1 MiB, the endpoint\'s close code';
}

for (const client of [new Https(), new Http2(), new Fetch()]) {
  const all = Object.entries(checks(client));
  if (client.row !== 'node-fetch-1.1') all.push(['Expect', expects(client)]);
  if (client.row === 'node-https-1.1') all.push(['WebSocket', upgrade]);
  if (client.row === 'node-http2-2') all.push(['WebSocket', extendedConnect(client)]);
  for (const [column, check] of all) await cell(client.row, column, check);
  client.close();
}
if (globalThis.WebSocket) await cell('node-fetch-1.1', 'WebSocket', webSocket);
else console.log(`skipped node-fetch-1.1 | WebSocket | Node ${process.versions.node} has none`);
process.exit();
