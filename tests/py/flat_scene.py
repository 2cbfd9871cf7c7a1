# SPDX-License-Identifier: LGPL-2.1-or-later
"""Something to call every function of the flat ABI with: live handles, and arguments that are
right, by the type and name of each parameter.  No call made with them waits."""

import ctypes
import os

from flat import CALLBACKS, CONST, STRUCTS, is_handle, lib, new_error
from flat_tls import PskServer, TlsPair, new_creds, psk_client
from flat_ws import WsPair, send

glib = ctypes.CDLL('libglib-2.0.so.0')
glib.g_main_context_new.restype = ctypes.c_void_p
glib.g_main_context_unref.argtypes = [ctypes.c_void_p]

KINDS = {
    'qioh_channel *': CONST.QIOH_KIND_CHANNEL,
    'qioh_listener *': CONST.QIOH_KIND_LISTENER,
    'qioh_loop *': CONST.QIOH_KIND_LOOP,
    'qioh_watch *': CONST.QIOH_KIND_WATCH,
    'qioh_task *': CONST.QIOH_KIND_TASK,
    'qioh_fdset *': CONST.QIOH_KIND_FDSET,
    'qioh_creds *': CONST.QIOH_KIND_CREDS,
    'qioh_options *': CONST.QIOH_KIND_OPTIONS,
    'qioh_closure *': CONST.QIOH_KIND_CLOSURE,
}

# Where a handle may be NULL: settings, and descriptors that a transfer need not have.
OPTIONAL = {'options', 'fds'}


def is_optional(function, index):
    return index > 0 and function.parameters[index].name in OPTIONAL or (
        index == 0 and (function.name.startswith('qioh_creds_new_') or
                        function.name == 'qioh_channel_new_custom'))


def count_releases(function):
    """How often a call runs or registers a release function."""
    return [p.type for p in function.parameters].count('qioh_release_fn') + [
        p.name for p in function.parameters].count('ops')


class Scene:
    """One of each handle, and what the arguments need to stay alive."""

    def __init__(self, directory):
        self.directory = str(directory)
        self.keep = []
        self.fds = []
        self.contexts = []
        self.releases = 0
        self.pairs = []             # of layers
        self.more = []              # handles with the function that gives them up
        error = new_error()
        pair = (ctypes.c_void_p * 2)()
        assert lib.qioh_channel_new_pair(ctypes.addressof(pair), error) == 0
        self.peer = pair[1]
        self.loop_of_watch = lib.qioh_loop_new(error)
        self.handles = {
            'qioh_channel *': pair[0],
            'qioh_loop *': lib.qioh_loop_new(error),
            'qioh_fdset *': lib.qioh_fdset_new(error),
            'qioh_options *': lib.qioh_options_new(error),
            'qioh_creds *': new_creds(lib.qioh_creds_new_psk, True),
            'qioh_listener *': lib.qioh_listener_open_uri(b'tcp://127.0.0.1:0', None, error),
            'qioh_watch *': lib.qioh_watch_new_timer_queued(self.loop_of_watch, 100000, 0, 1,
                                                            error),
            'qioh_task *': lib.qioh_task_start_handshake(self.peer, -1, self.loop_of_watch, 2,
                                                         error),
        }
        self.handles['qioh_closure *'] = lib.qioh_closure_new(
            b'v()', self.callback('qioh_closure_fn'), 0, ctypes.cast(
                None, CALLBACKS['qioh_release_fn']), error)
        assert all(self.handles.values()), error.message
        # So that nothing waits: something to read, and a loop that was told to quit.
        assert lib.qioh_channel_set_blocking(pair[0], 0, error) == 0
        assert lib.qioh_channel_write_all(self.peer, b'0123456789abcdef', 16, error) == 0
        assert lib.qioh_loop_quit(self.handles['qioh_loop *'], error) == 0
        assert lib.qioh_fdset_add(self.handles['qioh_fdset *'], self.new_fd(), error) == 0

    def tls_channel(self):
        """One whose hands are shaken."""
        self.pairs.append(TlsPair())
        return self.pairs[-1].client

    def ws_channel(self, name):
        """One with a message to receive, or with a request that waits."""
        waits = name.endswith(('_accept', '_reject'))
        pair = WsPair(shaken=not waits, ws_request='on' if waits else 'off')
        self.pairs.append(pair)
        if waits:
            pair.ask()
        else:
            send(pair.client, b'a message')
        return pair.server

    def queued_channel(self):
        """One whose writer has written."""
        channel = lib.qioh_channel_new_queued(self.loop_of_watch, 8, None)
        self.more.append((lib.qioh_channel_unref, channel))
        assert lib.qioh_channel_try_write(channel, b'written', 7, None) == 7
        return channel

    def special_handle(self, function, parameter):
        """Where the scene's one handle of that kind will not do; None: it does."""
        if parameter.type == 'qioh_channel *' and (
                function.name.startswith('qioh_channel_tls_') or
                function.name.endswith('_transport')):
            return self.tls_channel()
        if parameter.type == 'qioh_channel *' and function.name.startswith('qioh_channel_ws_'):
            return self.ws_channel(function.name)
        if function.name in ('qioh_channel_push', 'qioh_channel_push_end', 'qioh_channel_pull'):
            return self.queued_channel()
        if parameter.name == 'b':
            return self.peer
        if function.name == 'qioh_channel_notify':
            self.more.append((lib.qioh_channel_unref,
                              lib.qioh_channel_new_custom(None, self.ops(), 1, None)))
            return self.more[-1][1]
        if '_new_tls_' in function.name and parameter.type == 'qioh_creds *':
            server = PskServer()
            creds = server.creds if function.name.endswith('server') else psk_client()
            self.keep.append(server)
            self.more += [(lib.qioh_creds_unref, handle) for handle in {creds, server.creds}]
            return creds
        return None

    def new_fd(self):
        fd = os.open('/dev/null', os.O_RDWR | os.O_CLOEXEC)
        self.fds.append(fd)
        return fd

    def callback(self, type_name):
        def ignore(*arguments):
            return 0

        def count(user_data):
            self.releases += 1

        made = CALLBACKS[type_name](count if 'release' in type_name else ignore)
        self.keep.append(made)
        return made

    def buffer(self, size=64):
        made = ctypes.create_string_buffer(size)
        self.keep.append(made)
        return ctypes.addressof(made)

    def iovec(self):
        made = STRUCTS['qioh_iovec'](self.buffer(), 8)
        self.keep.append(made)
        return ctypes.pointer(made)

    def ops(self):
        made = STRUCTS['qioh_channel_ops'](ctypes.sizeof(STRUCTS['qioh_channel_ops']))
        for member, kind in made._fields_[2:]:
            setattr(made, member, self.callback(f'qioh_channel_ops.{member}'))
        self.keep.append(made)
        return ctypes.pointer(made)

    def argv(self):
        made = (ctypes.c_char_p * 2)(b'true', None)
        self.keep.append(made)
        return ctypes.addressof(made)

    def events(self):
        made = (STRUCTS['qioh_event'] * 4)()
        self.keep.append(made)
        return ctypes.cast(made, ctypes.POINTER(STRUCTS['qioh_event']))

    def argument(self, function, parameter):
        """A right value by name, else by type; an unknown parameter is a KeyError."""
        if is_handle(parameter.type):
            if parameter.type == 'qioh_options *' and function.name in (
                    'qioh_channel_open_uri', 'qioh_listener_open_uri', 'qioh_task_start_open_uri',
                    'qioh_task_start_listen_uri', 'qioh_channel_new_command'):
                return None
            return self.special_handle(function, parameter) or self.handles[parameter.type]
        if parameter.type in CALLBACKS:
            return self.callback(parameter.type)
        special = {
            ('qioh_listener_open_uri', 'uri'): b'tcp://127.0.0.1:0',
            ('qioh_task_start_listen_uri', 'uri'): b'tcp://127.0.0.1:0',
            ('qioh_options_set_int', 'key'): b'backlog',
            ('qioh_options_add_str', 'key'): b'env',
            ('qioh_options_add_str', 'value'): b'A=b',
            ('qioh_options_set_bytes', 'key'): b'tls-psk-key',
            ('qioh_channel_tls_get_str', 'key'): b'version',
            ('qioh_channel_ws_get_request', 'key'): b'path',
            ('qioh_channel_ws_close', 'code'): 1000,
            ('qioh_options_set_int', 'value'): 5,
            ('qioh_channel_set_name', 'name'): b'a name',
        }
        if (function.name, parameter.name) in special:
            return special[function.name, parameter.name]
        return {
            'ops': self.ops, 'a_to_b': self.buffer, 'b_to_a': self.buffer,
            'buf': self.buffer, 'key': lambda: b'name', 'value': lambda: b'x',
            'len': lambda: 8, 'cap': lambda: 4 if 'events' in function.name else 64,
            'iov': self.iovec, 'niov': lambda: 1, 'delims': self.iovec, 'ndelims': lambda: 1,
            'limit': lambda: 64, 'flags': lambda: CONST.QIOH_DONTWAIT,
            'handle': lambda: self.handles['qioh_channel *'], 'kind': lambda: 4,
            'code': lambda: CONST.QIOH_E_INTR, 'uri': lambda: b'null:', 'fd': self.fd_argument(
                function), 'out2': self.buffer, 'argv': self.argv,
            'path': lambda: os.fsencode(os.path.join(self.directory, 'file')),
            'mode': lambda: b'rw', 'permissions': lambda: 0o600,
            'condition': lambda: CONST.QIOH_IN, 'timeout_ms': self.timeout_argument(parameter),
            'enabled': lambda: 0, 'how': lambda: CONST.QIOH_SHUTDOWN_WRITE,
            'offset': lambda: 0, 'whence': lambda: 0, 'feature': lambda: 0,
            'events': self.buffer if parameter.type == 'uint32_t *' else self.events,
            'pid': self.buffer, 'uid': self.buffer, 'gid': self.buffer,
            'exit_status': self.buffer, 'out': lambda: ctypes.pointer(new_error()),
            'signum': (lambda: 0) if parameter.type == 'int32_t' else self.buffer,
            'opcode': self.buffer if parameter.type == 'uint32_t *' else lambda: 2,
            'fin': self.buffer, 'reason': lambda: b'why', 'protocol': lambda: None,
            'http_status': lambda: 404, 'server': lambda: 0, 'label': lambda: b'EXPORTER-x',
            'signature': lambda: b'i32(p,p)', 'message': lambda: b'it broke', 'context': self.buffer,
            'context_len': lambda: 8, 'index': lambda: 0, 'cookie': lambda: 7, 'user_data': lambda: 1,
            'after_ms': lambda: 100000, 'every_ms': lambda: 0, 'main_context': self.main_context,
        }[parameter.name]()

    def main_context(self):
        """One of its own: the default one would keep a descriptor for good."""
        context = glib.g_main_context_new()
        self.contexts.append(context)
        return context

    def fd_argument(self, function):
        if function.name in ('qioh_channel_get_poll',):
            return self.buffer
        return self.new_fd

    def timeout_argument(self, parameter):
        return self.buffer if parameter.type == 'int32_t *' else lambda: 0

    def arguments(self, function, error):
        return [error if parameter.name == 'error' else self.argument(function, parameter)
                for parameter in function.parameters]

    def took(self, function, result, arguments):
        """Gives up what a call that went well has made."""
        if is_handle(function.result) and result and '_get_' not in function.name:
            noun = function.result[:-2]
            if noun == 'qioh_channel' and function.name != 'qioh_channel_ref':
                lib.qioh_channel_close(result, None)        # a command: waits for its child
            getattr(lib, noun + '_unref')(result)
        if function.name == 'qioh_channel_new_pair' and result == 0:
            made = (ctypes.c_void_p * 2).from_address(arguments[0])
            lib.qioh_channel_unref(made[0])
            lib.qioh_channel_unref(made[1])
        if function.name == 'qioh_channel_new_fd' and result:
            self.fds.remove(arguments[0])
        if function.name.endswith(('_take_fd', '_dup_fd')) and result >= 0:
            os.close(result)

    def end(self):
        for type_name, handle in self.handles.items():
            getattr(lib, type_name[:-2] + '_unref')(handle)
        for pair in self.pairs:
            pair.end()
        for unref, handle in self.more:
            unref(handle)
        lib.qioh_channel_unref(self.peer)
        lib.qioh_loop_unref(self.loop_of_watch)
        for context in self.contexts:
            glib.g_main_context_unref(context)
        for fd in self.fds:
            os.close(fd)
