# SPDX-License-Identifier: LGPL-2.1-or-later
"""talk.py: the conversation of ../README.md from cffi, in its ABI mode.

    python3 talk.py URI FILE [KEYS USER]

The header of the flat ABI goes to cdef() as it is.  cffi gives Python's lock up during each
call and takes it again for a callback.
"""
import codecs
import contextlib
import pathlib
import sys

import cffi

ffi = cffi.FFI()
ffi.cdef((pathlib.Path(__file__).parents[3] / 'core/abi/qioh-abi.h').read_text(encoding='ascii'))
qio = ffi.dlopen('libqio.so.0')

PATIENCE_MS, COOKIE = 20000, 7


class QioError(Exception):
    def __init__(self, error):
        name = ffi.string(qio.qioh_status_name(error.code)).decode()
        super().__init__(f'{name}: {ffi.string(error.message).decode()}')
        self.code = error.code


def call(function, *arguments):
    """Calls a function whose last argument is an error; AGAIN leaves that untouched."""
    error = ffi.new('qioh_error *')
    result = function(*arguments, error)
    if error.code < 0:
        raise QioError(error)
    return result


class Connection:
    """A channel with a loop whose queue says when there is something to read."""

    def __init__(self, handles, uri, keys=None, user=None):
        def owned(handle, unref):
            handles.callback(unref, handle)
            return handle

        options = owned(call(qio.qioh_options_new), qio.qioh_options_unref)
        if keys:
            call(qio.qioh_options_set_str, options, b'tls-psk-file', keys.encode())
            call(qio.qioh_options_set_str, options, b'tls-psk-user', user.encode())
        self.channel = owned(call(qio.qioh_channel_open_uri, uri.encode(), options),
                             qio.qioh_channel_unref)
        self.loop = owned(call(qio.qioh_loop_new), qio.qioh_loop_unref)
        self.watch = owned(call(qio.qioh_watch_new_queued, self.loop, self.channel, qio.QIOH_IN,
                                COOKIE), qio.qioh_watch_unref)
        self.events = ffi.new('qioh_event[8]')
        self.events[0].struct_size = ffi.sizeof('qioh_event')
        self.input = bytearray()

    def wait_event(self, kind):
        """Fetches events until one of the kind has come; nothing calls back."""
        while True:
            count = call(qio.qioh_loop_next_events, self.loop, self.events, 8, PATIENCE_MS)
            if not count:
                raise TimeoutError('the server says nothing')
            if any(event.kind == kind and event.cookie == COOKIE
                   for event in self.events[0:count]):
                return

    def read_line(self):
        chunk = ffi.new('char[4096]')
        while b'\n' not in self.input:
            n = call(qio.qioh_channel_try_read, self.channel, chunk, len(chunk))
            if n == qio.QIOH_E_AGAIN:
                self.wait_event(qio.QIOH_EV_WATCH)
            elif n == 0:
                raise EOFError('the server closed the connection')
            else:
                self.input += ffi.buffer(chunk, n)
        line, _, self.input = self.input.partition(b'\n')
        return line.decode()

    def send(self, text):
        data = text.encode()
        call(qio.qioh_channel_write_all, self.channel, data, len(data))

    def send_fd(self, text, fd):
        """The descriptor goes along with the first byte; the set has a copy of it."""
        data = ffi.from_buffer(text.encode())
        fds = call(qio.qioh_fdset_new)
        try:
            call(qio.qioh_fdset_add, fds, fd)
            iov = ffi.new('qioh_iovec *', {'base': data, 'len': len(data)})
            call(qio.qioh_channel_writev, self.channel, iov, 1, 0, fds)
        finally:
            qio.qioh_fdset_unref(fds)

    def close(self):
        """A watch that goes says so once: then whatever its cookie stood for may go."""
        call(qio.qioh_watch_remove, self.watch)
        self.wait_event(qio.QIOH_EV_RELEASED)
        call(qio.qioh_channel_close, self.channel)


class Rot13:
    """What a channel of our own is made of: it turns the letters of what passes through it."""

    alive = set()       # those that C may call, until the release
    released = 0

    def __init__(self, channel):
        self.channel = channel
        self.handle = ffi.new_handle(self)      # the user_data
        self.alive.add(self)

    def readv(self, iov, error):
        n = qio.qioh_channel_try_read(self.channel, iov[0].base, iov[0].len, error)
        if n > 0:
            data = ffi.buffer(iov[0].base, n)
            data[:] = codecs.encode(data[:].decode('latin-1'), 'rot13').encode('latin-1')
        return n                                # also AGAIN, or a failure that is in error

    def writev(self, iov, error):
        data = ffi.buffer(iov[0].base, iov[0].len)[:]
        if not data.isascii():
            raise ValueError('only ASCII is turned')
        turned = codecs.encode(data.decode(), 'rot13').encode()
        return qio.qioh_channel_try_write(self.channel, turned, len(turned), error)

    def get_poll(self, condition, fd, events, error):
        return qio.qioh_channel_get_poll(self.channel, condition, fd, events, error)

    def release(self):
        Rot13.released += 1
        self.alive.remove(self)


def guarded(user_data, error, function):
    """No exception leaves a callback: it becomes the error of the call that needed it."""
    try:
        return function(ffi.from_handle(user_data))
    except Exception as exception:
        ffi.buffer(error.message)[:] = str(exception).encode()[:479].ljust(480, b'\0')
        return qio.QIOH_E_CALLBACK


TRANSFER = ('int64_t (*)(void *, const qioh_iovec *, size_t, uint32_t, qioh_fdset *,'
            ' qioh_error *)')


@ffi.callback(TRANSFER)
def rot13_readv(user_data, iov, _niov, _flags, _fds, error):
    return guarded(user_data, error, lambda rot13: rot13.readv(iov, error))


@ffi.callback(TRANSFER)
def rot13_writev(user_data, iov, _niov, _flags, _fds, error):
    return guarded(user_data, error, lambda rot13: rot13.writev(iov, error))


@ffi.callback('int32_t (*)(void *, uint32_t, int32_t *, uint32_t *, qioh_error *)')
def rot13_get_poll(user_data, condition, fd, events, error):
    return guarded(user_data, error, lambda rot13: rot13.get_poll(condition, fd, events, error))


@ffi.callback('void (*)(void *)')
def rot13_release(user_data):
    ffi.from_handle(user_data).release()


# The library copies the struct; a member that is not named has a default.
ROT13_OPS = ffi.new('qioh_channel_ops *', {
    'struct_size': ffi.sizeof('qioh_channel_ops'), 'readv': rot13_readv, 'writev': rot13_writev,
    'get_poll': rot13_get_poll, 'release': rot13_release})


def talk_in_rot13(channel):
    rot13 = Rot13(channel)
    turning = call(qio.qioh_channel_new_custom, ffi.NULL, ROT13_OPS, rot13.handle)
    try:
        call(qio.qioh_channel_write_all, turning, b'a secret of cffi\n', 17)
        answer = ffi.new('char[17]')
        call(qio.qioh_channel_read_all, turning, answer, 17)
        print('rot13:', ffi.string(answer, 17).decode(), end='')
        try:
            call(qio.qioh_channel_write_all, turning, b'\xff', 1)
        except QioError as error:
            print('refused:', error)
    finally:
        qio.qioh_channel_unref(turning)
    print('released:', Rot13.released)


def talk(uri, path, keys=None, user=None):
    with contextlib.ExitStack() as handles:         # gives them up, also when something fails
        connection = Connection(handles, uri, keys, user)
        connection.send('hello from cffi\n')
        print('event:', connection.read_line())
        if call(qio.qioh_channel_has_feature, connection.channel, qio.QIOH_FEATURE_FD_PASS):
            with open(path, 'rb') as file:
                connection.send_fd('file\n', file.fileno())
            print('file:', connection.read_line())
        talk_in_rot13(connection.channel)
        connection.close()
    try:
        call(qio.qioh_channel_write_all, connection.channel, b'x', 1)
    except QioError as error:
        print('stale:', ffi.string(qio.qioh_status_name(error.code)).decode())
    print('left:', qio.qioh_debug_live(qio.QIOH_KIND_ANY))


if __name__ == '__main__':
    if len(sys.argv) not in (3, 5):
        print('usage: talk.py URI FILE [KEYS USER]', file=sys.stderr)
        sys.exit(2)
    try:
        talk(*sys.argv[1:])
    except (QioError, OSError, EOFError) as error:
        print(f'talk.py: {error}', file=sys.stderr)
        sys.exit(1)
