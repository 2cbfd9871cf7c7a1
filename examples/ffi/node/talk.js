// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * talk: the conversation of ../README.md from Node.
 *
 *   node talk.js URI FILE [KEYS USER]
 *
 * What may wait runs on a thread of koffi's pool and is awaited, so Node's own loop goes on.
 */
'use strict';

const fs = require('node:fs');
const qio = require('./qio.js');

const PATIENCE_MS = 20000;
const COOKIE = 7;
const EVENTS = 8;
const EVENT_SIZE = qio.koffi.sizeof('qioh_event');

// Lends a handle to a function and gives it up, whatever happens.
async function using(noun, handle, use) {
  try {
    return await use(handle);
  } finally {
    qio.functions[`${noun}_unref`](handle);
  }
}

// A channel with a loop whose queue says when there is something to read.
class Connection {
  static open(uri, keys, user, use) {
    return using('options', qio.call('options_new'), async (options) => {
      if (keys) {
        qio.call('options_set_str', options, 'tls-psk-file', keys);
        qio.call('options_set_str', options, 'tls-psk-user', user);
      }
      const channel = await qio.later('channel_open_uri', uri, options);
      return using('channel', channel, () => using('loop', qio.call('loop_new'), (loop) => {
        const watch = qio.call('watch_new_queued', loop, channel, qio.IN, COOKIE);
        return using('watch', watch, () => use(new Connection(channel, loop, watch)));
      }));
    });
  }

  constructor(channel, loop, watch) {
    Object.assign(this, { channel, loop, watch, input: Buffer.alloc(0) });
    this.events = Buffer.alloc(EVENT_SIZE * EVENTS);
    this.events.writeUInt32LE(EVENT_SIZE, 0);     // struct_size of the first is the stride
  }

  // Fetches events until one of the kind has come; nothing calls back.
  async waitEvent(kind) {
    for (;;) {
      const count = await qio.later('loop_next_events', this.loop, this.events, EVENTS,
        PATIENCE_MS);
      if (count === 0) throw new Error('the server says nothing');
      const events = qio.koffi.decode(this.events, 'qioh_event', count);
      if (events.some((event) => event.kind === kind && event.cookie === COOKIE)) return;
    }
  }

  async readLine() {
    const chunk = Buffer.alloc(4096);
    while (!this.input.includes('\n')) {
      const n = qio.call('channel_try_read', this.channel, chunk, chunk.length);
      if (n === 0) throw new Error('the server closed the connection');
      if (n === qio.E_AGAIN) await this.waitEvent(qio.EV_WATCH);
      else this.input = Buffer.concat([this.input, chunk.subarray(0, n)]);
    }
    const end = this.input.indexOf('\n');
    const line = this.input.toString('utf8', 0, end);
    this.input = this.input.subarray(end + 1);
    return line;
  }

  send(text) {
    const data = Buffer.from(text);
    return qio.later('channel_write_all', this.channel, data, data.length);
  }

  // The descriptor goes along with the first byte; the set has a copy of it.
  sendFile(text, fd) {
    const data = Buffer.from(text);
    return using('fdset', qio.call('fdset_new'), (fds) => {
      qio.call('fdset_add', fds, fd);
      qio.call('channel_writev', this.channel, { base: data, len: data.length }, 1, 0, fds);
    });
  }

  // A watch that goes says so once: then whatever its cookie stood for may go.
  async close() {
    qio.call('watch_remove', this.watch);
    await this.waitEvent(qio.EV_RELEASED);
    await qio.later('channel_close', this.channel);
  }
}

// A channel of our own, which turns the letters of what passes through it.  Callbacks run in this
// thread, also when the call that needs them was made on another one.
class Rot13 {
  static released = 0;

  static open(channel) {
    const rot13 = new Rot13(channel);
    const ops = { struct_size: qio.koffi.sizeof('qioh_channel_ops'), flags: 0 };
    for (const name of ['readv', 'writev', 'get_poll', 'release']) {
      const member = qio.koffi.register(guarded(rot13[name].bind(rot13)),
        `qioh_channel_ops_${name}`);
      rot13.members.push(member);
      ops[name] = member;
    }
    return qio.call('channel_new_custom', null, ops, null);     // which copies them
  }

  constructor(channel) {
    Object.assign(this, { channel, members: [] });
  }

  static turn(bytes) {
    return Buffer.from(bytes.toString('latin1').replace(/[a-z]/gi, (letter) => {
      const first = letter <= 'Z' ? 65 : 97;
      return String.fromCharCode((letter.charCodeAt(0) - first + 13) % 26 + first);
    }), 'latin1');
  }

  readv(_userData, iov, _niov, _flags, _fds, error) {
    const { base, len } = qio.koffi.decode(iov, 'qioh_iovec');
    const n = qio.functions.channel_try_read(this.channel, base, len, error);
    if (n > 0) {
      const bytes = Buffer.from(qio.koffi.view(base, n));
      Rot13.turn(bytes).copy(bytes);
    }
    return n;           // also AGAIN, or a failure that is in the error
  }

  writev(_userData, iov, _niov, _flags, _fds, error) {
    const { base, len } = qio.koffi.decode(iov, 'qioh_iovec');
    const bytes = Buffer.from(qio.koffi.view(base, Number(len)));
    if (bytes.some((byte) => byte > 127)) throw new RangeError('only ASCII is turned');
    return qio.functions.channel_try_write(this.channel, Rot13.turn(bytes), len, error);
  }

  get_poll(_userData, condition, fd, events, error) {
    return qio.functions.channel_get_poll(this.channel, condition, fd, events, error);
  }

  // The last call; its own callback is still running, so they go a little later.
  release() {
    Rot13.released += 1;
    setImmediate(() => this.members.forEach((member) => qio.koffi.unregister(member)));
  }
}

// No exception leaves a callback: it becomes the error of the call that needed it.
function guarded(op) {
  return (...args) => {
    try {
      return op(...args);
    } catch (exception) {
      const offset = qio.koffi.offsetof('qioh_error', 'message');
      qio.koffi.encode(args.at(-1), offset, qio.koffi.array('char', 480, 'String'),
        exception.message.slice(0, 479));
      return qio.E_CALLBACK;
    }
  };
}

async function talkInRot13(channel) {
  const secret = Buffer.from('a secret of node\n');
  await using('channel', Rot13.open(channel), async (turning) => {
    await qio.later('channel_write_all', turning, secret, secret.length);
    const answer = Buffer.alloc(secret.length);
    await qio.later('channel_read_all', turning, answer, answer.length);
    process.stdout.write(`rot13: ${answer}`);
    try {
      await qio.later('channel_write_all', turning, Buffer.from([255]), 1);
    } catch (error) {
      console.log(`refused: ${error.message}`);
    }
  });
  console.log(`released: ${Rot13.released}`);
}

async function converse(connection, file) {
  await connection.send('hello from node\n');
  console.log(`event: ${await connection.readLine()}`);
  if (qio.call('channel_has_feature', connection.channel, qio.FEATURE_FD_PASS)) {
    const fd = fs.openSync(file, 'r');
    try {
      await connection.sendFile('file\n', fd);
    } finally {
      fs.closeSync(fd);
    }
    console.log(`file: ${await connection.readLine()}`);
  }
  await talkInRot13(connection.channel);
  await connection.close();
  return connection.channel;
}

async function talk(uri, file, keys, user) {
  const stale = await Connection.open(uri, keys, user, (it) => converse(it, file));
  try {
    qio.call('channel_write_all', stale, Buffer.from('x'), 1);
  } catch (error) {
    console.log(`stale: ${qio.functions.status_name(error.code)}`);
  }
  console.log(`left: ${qio.functions.debug_live(qio.KIND_ANY)}`);
}

const args = process.argv.slice(2);
if (args.length !== 2 && args.length !== 4) {
  console.error('usage: talk.js URI FILE [KEYS USER]');
  process.exit(2);
}
talk(...args).catch((error) => {
  console.error(`talk.js: ${error.message}`);
  process.exitCode = 1;
});
