# SPDX-License-Identifier: LGPL-2.1-or-later
"""talk.py: the conversation of ../README.md from Python's ctypes.

    python3 talk.py URI FILE [KEYS USER]

ctypes reads no header, so what is used is declared by hand: a handle is a pointer-sized number,
an error 512 bytes of ours.  ctypes gives Python's lock up during each call and takes it again for
a callback.
"""
import codecs
import contextlib
import sys
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, addressof, byref, c_char, c_char_p,
                    c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p,
                    create_string_buffer, memmove, sizeof, string_at)

AGAIN, CALLBACK = -2, -16                       # QIOH_E_*
IN, EV_WATCH, EV_RELEASED, FEATURE_FD_PASS = 1, 1, 7, 0
PATIENCE_MS, COOKIE = 20000, 7


class Error(Structure):
    _fields_ = [('struct_size', c_uint32), ('code', c_int32), ('sys_errno', c_int32),
                ('domain', c_int32), ('number', c_int64), ('bytes', c_uint64),
                ('message', c_char * 480)]


class Iovec(Structure):
    _fields_ = [('base', c_void_p), ('len', c_size_t)]


class Event(Structure):
    _fields_ = [('struct_size', c_uint32), ('kind', c_uint32), ('condition', c_uint32),
                ('status', c_int32), ('cookie', c_uint64), ('bytes', c_uint64),
                ('channel', c_void_p), ('watch', c_void_p), ('task', c_void_p),
                ('listener', c_void_p)]


TransferOp = CFUNCTYPE(c_int64, c_void_p, POINTER(Iovec), c_size_t, c_uint32, c_void_p,
                       POINTER(Error))
PollOp = CFUNCTYPE(c_int32, c_void_p, c_uint32, POINTER(c_int32), POINTER(c_uint32),
                   POINTER(Error))
ReleaseOp = CFUNCTYPE(None, c_void_p)


class Ops(Structure):                           # a member that stays NULL has a default
    _fields_ = [('struct_size', c_uint32), ('flags', c_uint32), ('readv', TransferOp),
                ('writev', TransferOp), ('close', c_void_p), ('shutdown', c_void_p),
                ('seek', c_void_p), ('get_poll', PollOp), ('flush', c_void_p),
                ('release', ReleaseOp)]


lib = CDLL('libqio.so.0')
lib.qioh_status_name.restype = c_char_p
lib.qioh_debug_live.restype = c_int64


class QioError(Exception):
    def __init__(self, error):
        self.code = error.code
        name = lib.qioh_status_name(error.code).decode()
        super().__init__(f'{name}: {error.message.decode()}')


def declare(result, name, *arguments):
    """A function of the ABI that raises what its last argument says; None stands for AGAIN."""
    function = getattr(lib, 'qioh_' + name)
    function.restype, function.argtypes = result, (*arguments, POINTER(Error))

    def call(*values):
        error = Error()
        value = function(*values, byref(error))
        if value == AGAIN and result is not c_void_p:
            return None
        if error.code < 0:
            raise QioError(error)
        return value
    return call


def declare_unref(name):
    function = getattr(lib, f'qioh_{name}_unref')
    function.restype, function.argtypes = None, (c_void_p,)
    return function


options_new = declare(c_void_p, 'options_new')
options_set_str = declare(c_int32, 'options_set_str', c_void_p, c_char_p, c_char_p)
open_uri = declare(c_void_p, 'channel_open_uri', c_char_p, c_void_p)
write_all = declare(c_int32, 'channel_write_all', c_void_p, c_char_p, c_size_t)
writev = declare(c_int64, 'channel_writev', c_void_p, POINTER(Iovec), c_size_t, c_uint32, c_void_p)
read_all = declare(c_int32, 'channel_read_all', c_void_p, c_void_p, c_size_t)
try_read = declare(c_int64, 'channel_try_read', c_void_p, c_void_p, c_size_t)
try_write = declare(c_int64, 'channel_try_write', c_void_p, c_char_p, c_size_t)
get_poll = declare(c_int32, 'channel_get_poll', c_void_p, c_uint32, POINTER(c_int32),
                   POINTER(c_uint32))
new_custom = declare(c_void_p, 'channel_new_custom', c_void_p, POINTER(Ops), c_void_p)
has_feature = declare(c_int32, 'channel_has_feature', c_void_p, c_uint32)
close = declare(c_int32, 'channel_close', c_void_p)
loop_new = declare(c_void_p, 'loop_new')
next_events = declare(c_int32, 'loop_next_events', c_void_p, POINTER(Event), c_uint32, c_int32)
watch_new_queued = declare(c_void_p, 'watch_new_queued', c_void_p, c_void_p, c_uint32, c_uint64)
watch_remove = declare(c_int32, 'watch_remove', c_void_p)
fdset_new = declare(c_void_p, 'fdset_new')
fdset_add = declare(c_int32, 'fdset_add', c_void_p, c_int32)
channel_unref, fdset_unref = declare_unref('channel'), declare_unref('fdset')
loop_unref, options_unref = declare_unref('loop'), declare_unref('options')
watch_unref = declare_unref('watch')


class Connection:
    """A channel with a loop whose queue says when there is something to read."""

    def __init__(self, handles, uri, keys=None, user=None):
        def owned(handle, unref):
            handles.callback(unref, handle)
            return handle

        options = owned(options_new(), options_unref)
        if keys:
            options_set_str(options, b'tls-psk-file', keys.encode())
            options_set_str(options, b'tls-psk-user', user.encode())
        self.channel = owned(open_uri(uri.encode(), options), channel_unref)
        self.loop = owned(loop_new(), loop_unref)
        self.watch = owned(watch_new_queued(self.loop, self.channel, IN, COOKIE), watch_unref)
        self.events = (Event * 8)()
        self.events[0].struct_size = sizeof(Event)
        self.input = b''

    def wait_event(self, kind):
        """Fetches events until one of the kind has come; nothing calls back."""
        while True:
            count = next_events(self.loop, self.events, 8, PATIENCE_MS)
            if not count:
                raise TimeoutError('the server says nothing')
            if any(event.kind == kind and event.cookie == COOKIE
                   for event in self.events[:count]):
                return

    def read_line(self):
        chunk = create_string_buffer(4096)
        while b'\n' not in self.input:
            n = try_read(self.channel, chunk, 4096)
            if n is None:
                self.wait_event(EV_WATCH)
            elif n == 0:
                raise EOFError('the server closed the connection')
            else:
                self.input += chunk[:n]
        line, _, self.input = self.input.partition(b'\n')
        return line.decode()

    def send(self, text):
        data = text.encode()
        write_all(self.channel, data, len(data))

    def send_fd(self, text, fd):
        """The descriptor goes along with the first byte; the set has a copy of it."""
        data = text.encode()
        buffer = create_string_buffer(data, len(data))
        with contextlib.ExitStack() as stack:
            fds = fdset_new()
            stack.callback(fdset_unref, fds)
            fdset_add(fds, fd)
            writev(self.channel, Iovec(addressof(buffer), len(data)), 1, 0, fds)

    def close(self):
        """A watch that goes says so once: then whatever its cookie stood for may go."""
        watch_remove(self.watch)
        self.wait_event(EV_RELEASED)
        close(self.channel)


class Rot13:
    """What a channel of our own is made of: it turns the letters of what passes through it."""

    alive = {}          # by user_data: those that C may call, until the release
    released = 0

    def __init__(self, channel):
        self.channel = channel
        self.alive[id(self)] = self

    def readv(self, iov, error):
        n = lib.qioh_channel_try_read(self.channel, iov[0].base, iov[0].len, error)
        if n > 0:
            text = codecs.encode(string_at(iov[0].base, n).decode('latin-1'), 'rot13')
            memmove(iov[0].base, text.encode('latin-1'), n)
        return n                                # also AGAIN, or a failure that is in error

    def writev(self, iov, error):
        data = string_at(iov[0].base, iov[0].len)
        if not data.isascii():
            raise ValueError('only ASCII is turned')
        turned = codecs.encode(data.decode(), 'rot13').encode()
        return lib.qioh_channel_try_write(self.channel, turned, len(turned), error)

    def get_poll(self, condition, fd, events, error):
        return lib.qioh_channel_get_poll(self.channel, condition, fd, events, error)


def guarded(user_data, error, function):
    """No exception leaves a callback: it becomes the error of the call that needed it."""
    try:
        return function(Rot13.alive[user_data])
    except Exception as exception:
        error.contents.message = str(exception).encode()[:479]
        return CALLBACK


@TransferOp
def rot13_readv(user_data, iov, _niov, _flags, _fds, error):
    return guarded(user_data, error, lambda rot13: rot13.readv(iov, error))


@TransferOp
def rot13_writev(user_data, iov, _niov, _flags, _fds, error):
    return guarded(user_data, error, lambda rot13: rot13.writev(iov, error))


@PollOp
def rot13_get_poll(user_data, condition, fd, events, error):
    return guarded(user_data, error, lambda rot13: rot13.get_poll(condition, fd, events, error))


@ReleaseOp
def rot13_release(user_data):
    Rot13.released += 1
    del Rot13.alive[user_data]


# The functions are made once, for all channels: none is ever freed inside its own call.
ROT13_OPS = Ops(sizeof(Ops), 0, rot13_readv, rot13_writev, None, None, None, rot13_get_poll, None,
                rot13_release)


def talk_in_rot13(channel):
    turning = new_custom(None, ROT13_OPS, id(Rot13(channel)))
    try:
        write_all(turning, b'a secret of ctypes\n', 19)
        answer = create_string_buffer(19)
        read_all(turning, answer, 19)
        print('rot13:', answer.raw.decode(), end='')
        try:
            write_all(turning, b'\xff', 1)
        except QioError as error:
            print('refused:', error)
    finally:
        channel_unref(turning)
    print('released:', Rot13.released)


def talk(uri, path, keys=None, user=None):
    with contextlib.ExitStack() as handles:         # gives them up, also when something fails
        connection = Connection(handles, uri, keys, user)
        connection.send('hello from ctypes\n')
        print('event:', connection.read_line())
        if has_feature(connection.channel, FEATURE_FD_PASS):
            with open(path, 'rb') as file:
                connection.send_fd('file\n', file.fileno())
            print('file:', connection.read_line())
        talk_in_rot13(connection.channel)
        connection.close()
    try:
        write_all(connection.channel, b'x', 1)
    except QioError as error:
        print('stale:', lib.qioh_status_name(error.code).decode())
    print('left:', lib.qioh_debug_live(0))


if __name__ == '__main__':
    if len(sys.argv) not in (3, 5):
        print('usage: talk.py URI FILE [KEYS USER]', file=sys.stderr)
        sys.exit(2)
    try:
        talk(*sys.argv[1:])
    except (QioError, OSError, EOFError) as error:
        print(f'talk.py: {error}', file=sys.stderr)
        sys.exit(1)
