// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * qio: libqio for Node through koffi.
 *
 * koffi knows no #include and no header, but it parses one declaration at a time: the header of
 * the flat ABI is read as it is, cut into declarations, and each is handed on.
 *
 *   qio.call('channel_close', channel)           qioh_channel_close(channel, &error), checked
 *   await qio.later('channel_close', channel)    the same on a thread of koffi's pool
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const koffi = require('koffi');

const HEADER = path.join(__dirname, '../../../core/abi/qioh-abi.h');
const ERROR_SIZE = 512;

const lib = koffi.load('libqio.so.0');
const constants = {};
const functions = {};

// ---- the header ----

// The text between semicolons that stand outside of braces.
function* declarations(text) {
  let depth = 0;
  let current = '';
  for (const piece of text.replace(/\/\*[^]*?\*\//g, '').split(/([{};])/)) {
    if (piece === ';' && depth === 0) {
      yield current.replace(/\s+/g, ' ').trim();
      current = '';
      continue;
    }
    depth += { '{': 1, '}': -1 }[piece] ?? 0;
    current += piece;
  }
}

function declareEnum(body) {
  for (const [, name, value] of body.matchAll(/(\w+) = (-?\d+)/g)) {
    constants[name.replace(/^QIOH_/, '')] = Number(value);
  }
}

// A pointer to a function: the type has a name of its own, which koffi.register() takes.
function declareCallback(name, result, parameters) {
  return koffi.alias(name, koffi.pointer(koffi.proto(`${result} _${name}${parameters}`)));
}

// Members are "type name", "type name[length]" or functions.
function declareStruct(name, body) {
  const members = {};
  for (const member of body.split(';').map((text) => text.trim()).filter(Boolean)) {
    const [, result, pointer, parameters] = /^(.*)\(\*(\w+)\)(\(.*\))$/.exec(member) ?? [];
    const [, type, own, length] = /^(.*?)(\w+)(?:\[(\d+)\])?$/.exec(member) ?? [];
    if (pointer) members[pointer] = declareCallback(`${name}_${pointer}`, result, parameters);
    else members[own] = length ? koffi.array(type.trim(), Number(length), 'String') : type.trim();
  }
  koffi.struct(name, members);
}

function declare(text) {
  let match;
  if ((match = /^enum {(.*)}$/.exec(text))) declareEnum(match[1]);
  else if ((match = /^typedef struct (\w+) {(.*)}/.exec(text))) declareStruct(match[1], match[2]);
  else if ((match = /^typedef struct (\w+) \w+$/.exec(text))) koffi.opaque(match[1]);
  else if ((match = /^typedef (.*)\(\*(\w+)\)(\(.*\))$/.exec(text))) {
    declareCallback(match[2], match[1], match[3]);
  } else if ((match = /^typedef (\w+) (\w+)$/.exec(text))) koffi.alias(match[2], match[1]);
  else if ((match = /\bqioh_(\w+)\(/.exec(text))) functions[match[1]] = lib.func(text);
  else throw new Error(`cannot read the declaration: ${text}`);
}

for (const text of declarations(fs.readFileSync(HEADER, 'ascii'))) {
  if (text) declare(text);
}

// ---- calls ----

class QioError extends Error {
  constructor(error) {
    super(`${functions.status_name(error.code)}: ${error.message}`);
    this.name = 'QioError';
    this.code = error.code;
  }
}

// Gives the result on; AGAIN is one.
function check(result, buffer) {
  const error = koffi.decode(buffer, 'qioh_error');
  if (error.code < 0) throw new QioError(error);
  return result;
}

function call(name, ...args) {
  const buffer = Buffer.alloc(ERROR_SIZE);
  return check(functions[name](...args, buffer), buffer);
}

// Each call has its error in memory of its own, so it does not matter which thread runs it.
function later(name, ...args) {
  const buffer = Buffer.alloc(ERROR_SIZE);
  return new Promise((resolve, reject) => {
    functions[name].async(...args, buffer, (failure, result) => {
      if (failure) reject(failure);
      else try { resolve(check(result, buffer)); } catch (error) { reject(error); }
    });
  });
}

module.exports = { ...constants, QioError, call, later, functions, koffi };
