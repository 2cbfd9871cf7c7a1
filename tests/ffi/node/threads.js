// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * threads: uses many channels by koffi's asynchronous calls, which run on a pool of threads.
 *
 *   threads CHANNELS ROUNDS
 *
 * On each pair of channels one side asks and waits for the answer, which the main thread gives
 * from the event queue.  Each round fails on purpose as well.  Prints what was done and by how
 * many threads; a surprise is an exception.
 */
'use strict';

const qio = require('../../../examples/ffi/node/qio.js');

const gettid = qio.koffi.load('libc.so.6').func('int gettid(void)');
const MESSAGE = 16;
const EVENTS = 16;
const EVENT_SIZE = qio.koffi.sizeof('qioh_event');
const [channels, rounds] = process.argv.slice(2).map(Number);
const threads = new Set();

function noteThread() {
  return new Promise((resolve, reject) => {
    gettid.async((error, tid) => (error ? reject(error) : resolve(threads.add(tid))));
  });
}

async function failOnPurpose(nowhere) {
  try {
    await qio.later('channel_open_uri', `unix:${nowhere}`, null);
  } catch (error) {
    if (error.code === qio.E_SYSTEM && error.message.includes(`${nowhere}:`)) return;
    throw error;
  }
  throw new Error(`opened ${nowhere}`);
}

async function ask(channel, number) {
  for (let round = 0; round < rounds; round++) {
    const question = Buffer.from(`${number} ${round}`.padStart(MESSAGE));
    const answer = Buffer.alloc(MESSAGE);
    await qio.later('channel_write_all', channel, question, MESSAGE);
    await noteThread();
    await qio.later('channel_read_all', channel, answer, MESSAGE);
    if (!answer.equals(question)) throw new Error(`asked ${question}, answered ${answer}`);
    await failOnPurpose(`/nowhere/${number}/${round}`);
  }
}

// Gives back what there is, without waiting.
function answer(channel) {
  const buffer = Buffer.alloc(4 * MESSAGE);
  const n = qio.call('channel_try_read', channel, buffer, buffer.length);
  if (n > 0) qio.call('channel_write_all', channel, buffer, n);
}

// Between two looks at the queue Node has a turn; the pool is for those who ask.
function pump(loop, pairs, state) {
  if (state.done) return;
  const events = Buffer.alloc(EVENTS * EVENT_SIZE);
  events.writeUInt32LE(EVENT_SIZE, 0);
  const count = qio.call('loop_next_events', loop, events, EVENTS, 1);
  for (let i = 0; i < count; i++) {
    const event = qio.koffi.decode(events, i * EVENT_SIZE, 'qioh_event');
    if (event.kind === qio.EV_WATCH) answer(pairs[event.cookie][1]);
  }
  setImmediate(pump, loop, pairs, state);
}

function newPair() {
  const two = Buffer.alloc(16);
  qio.call('channel_new_pair', two);
  return [two.readBigUInt64LE(0), two.readBigUInt64LE(8)];
}

async function main() {
  const loop = qio.call('loop_new');
  const pairs = Array.from({ length: channels }, newPair);
  pairs.forEach(([, answers], i) => qio.functions.watch_unref(
    qio.call('watch_new_queued', loop, answers, qio.IN, i)));
  const state = { done: false };
  pump(loop, pairs, state);
  await Promise.all(pairs.map(([asks], i) => ask(asks, i)));
  state.done = true;
  pairs.flat().forEach((channel) => qio.functions.channel_unref(channel));
  qio.functions.loop_unref(loop);
  console.log(`rounds: ${channels * rounds}`);
  console.log(`threads: ${threads.size}`);
  console.log(`left: ${qio.functions.debug_live(qio.KIND_ANY)}`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
