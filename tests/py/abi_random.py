# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that calls every function of the flat ABI in random order with random arguments.

usage: abi_random.py SEED CALLS DIRECTORY

Owns: what a random argument is: right ones, wrong ones, and handles of every kind, live, closed,
given up and made up; a pointer is NULL or good for the length beside it, which is all that C can
promise.  After each call the result and the error are held to the contract.  A timer interrupts
what waits.  In the end nothing may be alive and each release function must have run once.
test_abi_random.py runs it in a process of its own.
"""

import ctypes
import os
import random
import signal
import sys

from flat import CALLBACKS, CONST, FUNCTIONS, STRUCTS, is_handle, lib

LOWEST = min(value for name, value in vars(CONST).items() if name.startswith('QIOH_E_'))
KINDS = {f'qioh_{name[len("QIOH_KIND_"):].lower()} *': value
         for name, value in vars(CONST).items() if name.startswith('QIOH_KIND_')}
POOL_MAX = 40                   # live handles of a kind
UNTOUCHED = 77

NUMBERS = {
    'timeout_ms': [0, 1, 2, -2, -1, -2**31, 5], 'offset': [0, 1, 5, 1000, -1, -2**63, 2**63 - 1],
    'after_ms': [0, 1, 2, -1, 2**63 - 1], 'every_ms': [0, 1, -1, 2**63 - 1],
    'signum': [0, 9, 15, 65, 1000, -1], 'permissions': [0o600, 0o666, 0, 0o10000, 2**32 - 1],
    'cookie': [0, 1, 2**64 - 1], 'index': [0, 0, 0, 1, 2**32 - 1], 'flags': [0, 1, 1, 1, 2],
    'condition': [1, 4, 5, 1, 4, 2, 16, 0, 64, 2**32 - 1], 'how': [1, 2, 1, 2, 0, 3],
    'opcode': [1, 2, 1, 2, 8, 9, 0, 2**32 - 1], 'http_status': [403, 404, 200, 0, 1000],
    'code': [1000, 4000, 0, 1005, 2**32 - 1], 'server': [0, 1, 0, 1, 2, -1], 'whence': [0, 1, 2, 0, 1, 2, 3], 'feature': [0, 1, 2, 3], 'limit': [0, 1, 64, 2**24, 2**24 + 1, 2**64 - 1],
}
SMALL = [0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 253, 1000, 2**31 - 1, 2**32 - 1]
TEXTS = {
    'uri': [b'null:', b'buffer:', b'unix:', b'unix:/proc/nowhere', b'abstract:abi-random',
            b'tcp://127.0.0.1:0', b'tcp://127.0.0.1:1', b'tcp://[::1]:0', b'fd:1000000', b'exec:x',
            b'file:/dev/null?mode=rw', b'file:/no\x01thing', b'tcp://\xff:1', b'', b'%s%n:', b'x' * 5000,
            b'tls+tcp://a:1', b'tls+unix:', b'tls+unix:?tls-anon=on', b'tls+abstract:abi-random',
            b'tls+null:', b'ws://a:1/x', b'ws+unix:', b'ws+tls+unix:?tls-anon=on', b'ws+null:', b'tls+tls+buffer:', b'tls+unix:?tls-ca=/x',
            b'null:?name=%0a', b'null:?nmae=x', b'unix:' + b'y' * 200],
    'key': [b'name', b'timeout', b'allow', b'backlog', b'env', b'cwd', b'stderr', b'close-timeout',
            b'nodelay', b'tls-ca', b'tls-psk-key', b'tls-psk-user', b'tls-alpn', b'tls-verify',
            b'tls-hostname', b'handshake-timeout', b'ws-mode', b'ws-path', b'ws-request',
            b'ws-protocol', b'path', b'version', b'nmae', b'', b'\x1b[2J', b'k' * 3000],
    'value': [b'', b'on', b'0', b'1', b'0.001', b'all', b'messages', b'/chat', b'A=b', b'null', b'\n\t\x80', b'v' * 3000],
    'mode': [b'r', b'w', b'rw', b'a', b'', b'x\x07', b'm' * 1000],
    'signature': [b'v()', b'i32(p,p)', b'f64( f32 ,i8)', b'', b'v', b'v(v)', b'p(' + b'p,' * 40, b'\xff('],
    'message': [b'', b'it broke', b'\xff\n', b'm' * 1000],
    'reason': [b'', b'why', b'r' * 200, b'\xff\n'],
    'protocol': [b'', b'binary', b'a b', b'p' * 3000],
    'label': [b'EXPORTER-x', b'', b'l' * 5000, b'\n'],
    'name': [b'', b'a name', b'\x00', b'\xc3\x28\n', b'n' * 5000],
}


class Caller:
    def __init__(self, seed, directory):
        self.random = random.Random(seed)
        self.directory = os.fsencode(directory)
        self.live = {name: [] for name in KINDS}
        self.dead = []
        self.registered = self.released = 0
        self.buffer = ctypes.create_string_buffer(64)
        self.error = STRUCTS['qioh_error']()
        self.out_error = STRUCTS['qioh_error']()
        self.blocks = (STRUCTS['qioh_iovec'] * 2)()
        for block in self.blocks:
            block.base = ctypes.addressof(self.buffer)
            block.len = 8
        self.events = (STRUCTS['qioh_event'] * 4)()
        self.out2 = (ctypes.c_void_p * 2)()
        self.argv = [(ctypes.c_char_p * 2)(program, None) for program in (b'true', b'cat', b'no!')]
        self.callbacks = {name: made(self.callback(name)) for name, made in CALLBACKS.items()}

    def callback(self, name):
        def release(user_data):
            self.released += 1

        def any_result(*arguments):
            return self.random.choice([1, 1, 0, -4])

        return release if 'release' in name else any_result

    def any_ops(self):
        """Kept for good: a channel calls the functions, not the struct."""
        size = ctypes.sizeof(STRUCTS['qioh_channel_ops'])
        made = STRUCTS['qioh_channel_ops'](self.random.choice([size] * 9 + [0, 8, 50, 2**32 - 1]),
                                           self.random.choice([0] * 9 + [1, 1, 2]))
        for member, kind in made._fields_[2:]:
            if self.random.random() < 0.9:
                setattr(made, member, self.callbacks[f'qioh_channel_ops.{member}'])
        self.registered += bool(made.release) and made.struct_size >= size
        return ctypes.pointer(made)

    # ---- arguments ----

    def any_handle(self, type_name):
        chance = self.random.random()
        if chance < 0.9 and self.live[type_name]:
            return self.random.choice(self.live[type_name])
        if chance < 0.92:
            others = [handle for handles in self.live.values() for handle in handles]
            return self.random.choice(others) if others else None
        if chance < 0.95 and self.dead:
            return self.random.choice(self.dead)
        if chance < 0.97:
            return None
        bits = self.random.getrandbits(45) | 1 | KINDS[type_name] << 45
        return bits if chance < 0.99 else self.random.getrandbits(64)

    def any_fd(self, is_watched):
        if self.random.random() < 0.2:
            return self.random.choice([-1, 1000000, 2**31 - 1, -2**31])
        # A watched one is closed under its watch, which is against the rules where a copy of it
        # stays open: epoll would report it for ever.
        kind = self.random.choice(['null', 'pipe', 'pipe' if is_watched else 'socket'])
        if kind == 'null':
            fd = os.open('/dev/null', os.O_RDWR)
        elif kind == 'pipe':
            fd, other = os.pipe()
            os.close(other)
        else:
            fd = int(lib.qioh_channel_dup_fd(self.any_handle('qioh_channel *'), None))
        if fd >= 0:
            self.fds.append(fd)
        return fd

    def any_text(self, name):
        if name == 'path':
            return self.random.choice([self.directory + b'/file', self.directory + b'/no/such',
                                       b'', b'/\x01', b'p' * 5000])
        return self.random.choice(TEXTS[name])

    def pointer(self, made, size):
        """NULL, or the memory and how much of it the next argument may name."""
        if self.random.random() < 0.05:
            self.room = None
            return None
        self.room = size
        return made

    def any_size(self):
        if self.room is None:
            return self.random.choice([0, 1, 1000, 2**31, 2**63, 2**64 - 1])
        return self.random.randint(0, self.room)

    def argument(self, function, parameter):
        kind, name = parameter.type, parameter.name
        if kind == 'qioh_error *':
            to = self.error if name == 'error' else self.out_error
            return ctypes.pointer(to) if self.random.random() < 0.8 else None
        if is_handle(kind):
            return self.any_handle(kind)
        if kind in CALLBACKS:
            if self.random.random() < 0.1:
                return ctypes.cast(None, CALLBACKS[kind])
            self.registered += kind == 'qioh_release_fn'
            return self.callbacks[kind]
        if kind == 'const char *':
            return None if self.random.random() < 0.1 else self.any_text(name)
        if name == 'ops':
            return None if self.random.random() < 0.1 else self.any_ops()
        if kind in ('void *', 'const void *', 'char *') and name in ('buf', 'context'):
            return self.pointer(ctypes.addressof(self.buffer), 64)
        if kind == 'const qioh_iovec *':
            return self.pointer(self.blocks, 2)
        if kind == 'qioh_event *':
            self.events[0].struct_size = self.random.choice([0, 0, 64, 1])
            return self.pointer(self.events, 4)
        if name in ('len', 'context_len', 'cap', 'niov', 'ndelims'):
            return self.any_size() & (0xffffffff if kind == 'uint32_t' else 2**64 - 1)
        if name == 'argv':
            return self.random.choice([None] + [ctypes.addressof(argv) for argv in self.argv])
        if name == 'out2':
            return None if self.random.random() < 0.1 else ctypes.addressof(self.out2)
        if kind in ('void *',):
            return 1 if name == 'user_data' else None
        if kind.endswith(' *'):
            return None if self.random.random() < 0.05 else ctypes.addressof(self.buffer)
        if name == 'fd':
            return self.any_fd('watch_new_fd' in function.name)
        return self.random.choice(NUMBERS.get(name, SMALL))

    # ---- one call ----

    def call(self, function):
        self.fds = []
        self.room = None
        self.error.code = UNTOUCHED
        arguments = [self.argument(function, parameter) for parameter in function.parameters]
        result = getattr(lib, function.name)(*arguments)
        with_error = function.can_fail and arguments[-1] is not None
        self.check(function, result, with_error)
        self.keep(function, arguments, result)

    def check(self, function, result, with_error):
        pointer = is_handle(function.result) or function.result == 'void *'
        failed = not result if pointer else isinstance(result, int) and result < 0
        if isinstance(result, int) and not pointer:
            assert result >= LOWEST
        if not with_error:
            return
        if failed and (pointer or result != CONST.QIOH_E_AGAIN):
            assert self.error.code < 0
            if not pointer:
                assert self.error.code == result
            message = self.error.message.decode()       # UTF-8, and complete
            assert message and message.isprintable(), repr(message)
        else:
            assert self.error.code == UNTOUCHED

    def keep(self, function, arguments, result):
        taken = function.name == 'qioh_channel_new_fd' and result
        for fd in self.fds:
            if not taken:
                os.close(fd)
        if is_handle(function.result) and result:
            if '_get_' in function.name:
                self.dead = self.dead[-100:] + [result]     # borrowed: not ours to give up
            else:
                self.add(function.result, result)
        if function.name == 'qioh_channel_new_pair' and result == 0:
            for handle in self.out2:
                self.add('qioh_channel *', handle)
        if function.name.endswith(('_take_fd', '_dup_fd')) and result >= 0:
            os.close(result)
        if function.name.endswith('_unref') and arguments[0] in self.live[
                function.parameters[0].type]:
            self.forget(function.parameters[0].type, arguments[0])

    def add(self, type_name, handle):
        handles = self.live[type_name]
        handles.append(handle)
        if len(handles) > POOL_MAX:
            self.end(type_name, self.random.choice(handles))

    def forget(self, type_name, handle):
        self.live[type_name].remove(handle)
        self.dead = self.dead[-100:] + [handle]

    def end(self, type_name, handle):
        noun = type_name[:-2]
        if noun == 'qioh_channel':      # else a child that runs is left to itself
            # One whose input another channel has a copy of would be waited for, for seconds.
            lib.qioh_channel_kill(handle, signal.SIGKILL, None)
            while lib.qioh_channel_close(handle, None) == CONST.QIOH_E_INTR:
                pass
        getattr(lib, noun + '_unref')(handle)
        self.forget(type_name, handle)

    def end_all(self):
        for type_name in ['qioh_loop *', *(name for name in self.live if name != 'qioh_loop *')]:
            while self.live[type_name]:
                self.end(type_name, self.live[type_name][0])


def weight(function):
    """What ends things is rarer than what makes them, so that there is something to call."""
    if function.name.endswith(('_unref', '_close', '_take_fd', '_shutdown')):
        return 1
    return 15 if is_handle(function.result) else 5


def main(seed, calls, directory):
    caller = Caller(seed, directory)
    functions = list(FUNCTIONS.values())
    weights = [weight(function) for function in functions]
    seen = set()
    signal.signal(signal.SIGALRM, lambda signum, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    for i in range(calls):
        function = caller.random.choices(functions, weights)[0]
        try:
            caller.call(function)
        except AssertionError:
            print(f'seed {seed}, call {i}: {function.name}: {caller.error.code} '
                  f'{caller.error.message!r}', file=sys.stderr)
            raise
        seen.add(function.name)
    signal.setitimer(signal.ITIMER_REAL, 0)
    caller.end_all()
    assert seen == set(FUNCTIONS)
    assert lib.qioh_debug_live(0) == 0, lib.qioh_debug_live(0)
    assert caller.released == caller.registered, (caller.released, caller.registered)
    print(f'{calls} calls of {len(seen)} functions, {caller.registered} releases')


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
