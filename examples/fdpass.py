# SPDX-License-Identifier: LGPL-2.1-or-later
"""Passes an open file to another process, which has no other way to it.

    fdpass.py [FILE]             starts the second process and passes it the file
    fdpass.py --receive URI      what the second process runs

The sender opens the file (a copy whose name is removed again before the second process starts)
and sends the descriptor over a unix socket.  The receiver reads through it and answers with the
count and the SHA-256 digest of what it read, as one line of JSON.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import urllib.parse

import qio

TIMEOUT = 20                    # seconds for anything the other process has to do
CHUNK = 256 * 1024


def digest_of(channel):
    """(bytes, SHA-256) of all that can be read."""
    sha256, count = hashlib.sha256(), 0
    while chunk := channel.read_some(CHUNK):
        sha256.update(chunk)
        count += len(chunk)
    return count, sha256.hexdigest()


def receive(uri):
    """The second process: one descriptor in, one line out."""
    with qio.connect(uri, timeout=TIMEOUT) as sender:
        request, fds = sender.recv_fds(4096, maxfds=1, timeout=TIMEOUT)
        with fds[0] as fd, qio.from_fd(fd.detach()) as file:
            count, digest = digest_of(file)
        answer = {'pid': os.getpid(), 'request': request.decode(), 'bytes': count,
                  'sha256': digest}
        sender.write_all(json.dumps(answer).encode() + b'\n', timeout=TIMEOUT)


def pass_file(path):
    """Gives (what the second process answered, the count and digest of the file itself)."""
    with tempfile.TemporaryDirectory(prefix='qio-fdpass-') as folder:
        copy = os.path.join(folder, 'copy')
        shutil.copyfile(path, copy)
        with qio.open_file(copy, 'r') as file:
            os.unlink(copy)
            answer = _pass_channel(folder, file)
    with qio.open_file(path, 'r') as file:
        return answer, digest_of(file)


def _pass_channel(folder, file):
    uri = 'unix:' + urllib.parse.quote(os.path.join(folder, 'socket'))
    with qio.listen(uri) as listener, \
            qio.command([sys.executable, __file__, '--receive', uri]) as child:
        with listener.accept(timeout=TIMEOUT) as receiver:
            if receiver.peer_cred[0] != child.pid:
                raise RuntimeError('somebody else connected to the socket')
            receiver.send_fds(b'count and digest', [file], timeout=TIMEOUT)
            answer = json.loads(receiver.readline(timeout=TIMEOUT))
        child.wait_exit(timeout=TIMEOUT)
        if child.returncode != 0:
            raise RuntimeError(f'the second process ended with {child.returncode}')
        return answer


def main(args):
    if len(args) == 2 and args[0] == '--receive':
        receive(args[1])
        return
    answer, (count, digest) = pass_file(args[0] if args else sys.executable)
    print(f'process {os.getpid()} passed a file without a name to process {answer["pid"]}')
    print(f'which read {answer["bytes"]} bytes with SHA-256 {answer["sha256"]}')
    if (answer['bytes'], answer['sha256']) != (count, digest):
        sys.exit(f'but the file has {count} bytes with SHA-256 {digest}')
    print('which is what the file holds')


if __name__ == '__main__':
    main(sys.argv[1:])
