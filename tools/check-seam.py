#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks that the core makes system calls through core/base/sys.h alone; run by `meson test`.

usage: check-seam.py [SOURCE-ROOT] | check-seam.py --self-test

Owns: the names that count as a call of the system.  Those of the seam are read from sys.h;
the rest is what could be used in their place.  Comments and strings do not count, nor do
members of a struct (`ops->read(...)`).
"""

import os
import re
import sys

SEAM = ('core/base/sys.h', 'core/base/sys-direct.h', 'core/base/sys.c')

# Not in the seam, and not to be called: the seam has the better form, or it blocks, or the
# answer of the system could not be made to fail.
OTHERS = '''
    accept dup dup2 dup3 pipe creat openat sendto recvfrom sendmmsg recvmmsg preadv pwritev
    select pselect ppoll epoll_create epoll_pwait signalfd inotify_init inotify_init1
    memfd_create splice tee vmsplice sendfile copy_file_range
    fork vfork clone execv execve execvp execl execlp system popen posix_spawnp
    wait wait3 wait4 waitpid kill tgkill raise getpid
    sleep usleep nanosleep clock_nanosleep time gettimeofday times
    rand random srand srandom drand48 arc4random getentropy
    stat access readlink realpath mkdir rmdir rename unlinkat chmod chown mkstemp mkdtemp
    fopen fdopen freopen opendir ioctl flock lockf ftruncate fdatasync mremap mlock
    syscall getaddrinfo getnameinfo gethostbyname
    g_get_monotonic_time g_get_real_time g_usleep g_poll g_random_int g_random_int_range
    g_spawn_async g_spawn_sync g_spawn_command_line_sync g_file_get_contents g_open g_close
    g_unix_open_pipe g_unix_set_fd_nonblocking g_unlink g_stat g_lstat g_access g_mkdtemp
    abort exit _exit signal sigaction alarm setitimer
'''.split()

ALLOWED = {                     # (path, name): reason
    ('core/base/error.c', 'abort'): 'what qio_error_abort is for; the flat ABI never passes it',
    ('core/base/error.c', 'exit'): 'what qio_error_fatal is for; the flat ABI never passes it',
}

COMMENT_OR_STRING = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def strip(text):
    """The text without comments and strings, the lines where they were."""
    return COMMENT_OR_STRING.sub(lambda m: '\n' * m.group().count('\n') + ' ', text)


def seam_names(root):
    with open(os.path.join(root, SEAM[0]), encoding='utf-8') as file:
        return re.findall(r'X\([\w *]+?, (\w+), \(', file.read())


def make_pattern(names):
    names = sorted(names, key=len, reverse=True)
    return re.compile(r'(?<![\w.])(?<!->)(' + '|'.join(names) + r')\s*\(')


def find_calls(text, pattern):
    """Yields (line, name) of each direct call."""
    for number, line in enumerate(strip(text).split('\n'), 1):
        for match in pattern.finditer(line):
            yield number, match.group(1)


def c_files(root):
    for folder, _, files in os.walk(os.path.join(root, 'core')):
        for name in sorted(files):
            if name.endswith(('.c', '.h')):
                yield os.path.relpath(os.path.join(folder, name), root)


def check(root):
    names = seam_names(root)
    if len(names) < 40:
        yield f'{SEAM[0]}: only {len(names)} calls were recognised: {names}'
    pattern = make_pattern(names + OTHERS)
    used = set()
    for path in c_files(root):
        if path in SEAM:
            continue
        with open(os.path.join(root, path), encoding='utf-8') as file:
            for number, name in find_calls(file.read(), pattern):
                if (path, name) in ALLOWED:
                    used.add((path, name))
                    continue
                how = f'use sys_{name}()' if name in names else 'not for the core'
                yield f'{path}:{number}: {name}() is a direct call: {how}'
    for path, name in set(ALLOWED) - used:
        yield f'ALLOWED: {path} does not call {name}() any more'


PLANTED = [
    ('    n = read(fd, buf, len);', ['read']),
    ('    return close (fd);', ['close']),
    ('if (!poll(&p, 1, 0) || now(time(NULL))) {', ['poll', 'time']),
    ('    n = sys_read(fd, buf, len);', []),
    ('    n = ops->read(fd) + table.write(fd) + io_read(fd) + object_close(x);', []),
    ('    int (*poll)(void *subject);', []),
    ('    /* read(fd) */ puts("close(fd)"); // write(fd)', []),
    ('/* a comment\n   read(fd)\n   of lines */\nwrite(fd)', ['write']),
    ("    c = '\"'; read(fd); c = '\"';", ['read']),
]


def self_test():
    pattern = make_pattern(['read', 'write', 'close', 'poll', 'time'])
    wrong = 0
    for text, names in PLANTED:
        found = [name for _, name in find_calls(text, pattern)]
        if found != names:
            print(f'{text!r}: expected {names}, found {found}')
            wrong += 1
    print(f'check-seam: {len(PLANTED) - wrong} of {len(PLANTED)} planted lines judged rightly')
    return wrong


def main(args):
    if args == ['--self-test']:
        return 1 if self_test() else 0
    root = args[0] if args else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found = list(check(root))
    for line in found:
        print(line)
    print(f'check-seam: {len(found)} found in {sum(1 for _ in c_files(root))} files')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
