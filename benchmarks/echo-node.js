// SPDX-License-Identifier: LGPL-2.1-or-later
//
// node-ws echo, both ends in this process over a unix socket: the peer of benchmarks/websocket.py.
//
//   echo-node.js SOCKET        each line "SIZE N" on standard input is answered by the nanoseconds
//                              that N round trips of SIZE bytes took: by the wall clock, or by the
//                              processor's if that is less (on a busy machine the first says too
//                              much; the second counts the collector's threads)
'use strict';

const http = require('http');
const readline = require('readline');
const { WebSocket, WebSocketServer } = require('ws');

let left, done, message;

function run(size, n) {
  message = Buffer.alloc(size);
  left = n;
  return new Promise((resolve) => { done = resolve; client.send(message); });
}

const server = http.createServer();
const wss = new WebSocketServer({ server, perMessageDeflate: false });
wss.on('connection', (ws) => ws.on('message', (data) => ws.send(data)));
let client;
server.listen(process.argv[2], () => {
  client = new WebSocket(`ws+unix://${process.argv[2]}`, { perMessageDeflate: false });
  client.on('message', () => { if (--left) client.send(message); else done(); });
  client.on('open', async () => {
    console.log('ready');
    for await (const line of readline.createInterface({ input: process.stdin })) {
      const [size, n] = line.split(' ').map(Number);
      const start = process.hrtime.bigint(), used = process.cpuUsage();
      await run(size, n);
      const wall = Number(process.hrtime.bigint() - start);
      const { user, system } = process.cpuUsage(used);
      console.log(Math.min(wall, (user + system) * 1000));
    }
    process.exit(0);
  });
});
