// SPDX-License-Identifier: LGPL-2.1-or-later
//
// node-ws as a program: a server of an inherited socket, or a client of one step; the same words
// and the same behaviour as ws_peer.py.
'use strict';

const { readFileSync } = require('fs');
const { WebSocket, WebSocketServer } = require('ws');

const BULK = Buffer.from(Array.from({ length: 65536 }, (_, i) => i * 31 % 251));
const PROTOCOLS = ['binary', 'chat'];

function serveClient(ws) {
  ws.on('message', (data, isBinary) => {
    const text = isBinary ? '' : data.toString();
    if (!text.startsWith('!')) {
      ws.send(data, { binary: isBinary });
      return;
    }
    const [verb, ...words] = text.slice(1).split(' ');
    if (verb === 'close') {
      ws.close(Number(words[0]), words.slice(1).join(' '));
    } else if (verb === 'ping') {
      ws.once('pong', (payload) => ws.send(`pong ${payload}`));
      ws.ping(words[0]);
    } else if (verb === 'fragments') {
      words.forEach((word, i) => ws.send(word, { fin: i === words.length - 1 }));
    }
  });
}

function serve(fd, cert, key) {
  const server = cert
    ? require('https').createServer({ cert: readFileSync(cert), key: readFileSync(key) })
    : require('http').createServer();
  const handleProtocols = (offered) => PROTOCOLS.find((name) => offered.has(name)) || false;
  const wss = new WebSocketServer({ server, handleProtocols, perMessageDeflate: true });
  wss.on('connection', serveClient);
  server.listen({ fd: Number(fd) });
}

function check(got, expected) {
  const show = (value) => JSON.stringify(value).slice(0, 200);
  if (show(got) !== show(expected)) {
    throw new Error(`not ${show(expected)}: ${show(got)}`);
  }
}

function next(ws) {
  return new Promise((resolve, reject) => {
    ws.once('message', (data, isBinary) => resolve(isBinary ? data : data.toString()));
    ws.once('close', (code) => reject(new Error(`closed with ${code}`)));
  });
}

async function echo(ws, message) {
  const answer = next(ws);
  ws.send(message);
  const got = await answer;
  if (Buffer.compare(Buffer.from(got), Buffer.from(message)) || typeof got !== typeof message) {
    throw new Error(`another message of ${got.length} bytes came back`);
  }
}

const STEPS = {
  async text(ws) {
    for (const message of ['hello', '', 'gr\u00fc\u00df dich \u2603 \u{1f600}', 'x'.repeat(125),
      'x'.repeat(126)]) {
      await echo(ws, message);
    }
  },
  async binary(ws) {
    for (const message of [BULK.subarray(0, 256), Buffer.alloc(0), Buffer.alloc(125),
      Buffer.alloc(126, 0xff)]) {
      await echo(ws, message);
    }
  },
  async fragmented(ws) {
    let answer = next(ws);
    ['one ', 'two', '', ' thr\u00e9e'].forEach((part, i) => ws.send(part, { fin: i === 3 }));
    check(await answer, 'one two thr\u00e9e');
    answer = next(ws);
    ws.send('!fragments a b cd');
    check(await answer, 'abcd');
  },
  async bulk(ws) {
    for (const size of [65535, 65536]) {
      await echo(ws, BULK.subarray(0, size));
    }
  },
  async ping(ws) {
    const pong = new Promise((resolve) => ws.once('pong', resolve));
    ws.ping('are you there');
    check((await pong).toString(), 'are you there');
    const answer = next(ws);
    ws.send('!ping payload');
    check(await answer, 'pong payload');
  },
  async close(ws) {
    const closed = new Promise((resolve) => ws.once('close', (...end) => resolve(end)));
    ws.send('!close 4001 gone f\u00fcr good');
    const [code, reason] = await closed;
    check([code, reason.toString()], [4001, 'gone f\u00fcr good']);
  },
  async 'close-by-client'(ws) {
    const closed = new Promise((resolve) => ws.once('close', resolve));
    ws.close(4002, 'enough');
    check(await closed, 4002);
  },
  async protocol(ws) {
    check(ws.protocol, 'chat');
    await echo(ws, 'x');
  },
};

async function connect(step, uri, ca, deflate) {
  const options = { perMessageDeflate: deflate };
  if (ca) {
    options.ca = readFileSync(ca);
  }
  const protocols = step === 'protocol' ? ['unknown', 'chat'] : [];
  const address = uri.startsWith('unix:') ? `ws+unix://${uri.slice(5)}` : uri;
  const ws = new WebSocket(address, protocols, options);
  await new Promise((resolve, reject) => { ws.on('open', resolve); ws.on('error', reject); });
  if (deflate) {
    check(ws.extensions, 'permessage-deflate');
  }
  await STEPS[step](ws);
  ws.close();
  console.log('ok', step);
}

const [verb, ...words] = process.argv.slice(2).filter((word) => word !== '--deflate');
if (verb === 'serve') {
  serve(...words);
} else {
  connect(verb, words[0], words[1], process.argv.includes('--deflate')).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
