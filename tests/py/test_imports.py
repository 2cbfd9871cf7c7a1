# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the library's own objects ask of others: nothing that ends the process, nothing with state
of the whole process behind it, no unbounded copy, no thread."""

import re
import subprocess

import pytest

from flat import BUILD, LIBRARY

REFUSED = {
    'abort': 'nothing aborts', 'exit': 'nothing ends the process', '_exit': 'the same',
    'quick_exit': 'the same', '__assert_fail': 'the same', 'g_assertion_message': 'the same',
    'g_assertion_message_expr': 'the same', 'g_abort': 'the same',
    'system': 'no shell', 'popen': 'no shell', 'fork': 'posix_spawn', 'vfork': 'posix_spawn',
    'sprintf': 'unbounded', 'vsprintf': 'unbounded', 'strcpy': 'unbounded', 'strcat': 'unbounded',
    'gets': 'unbounded', 'scanf': 'unbounded', 'sscanf': 'overflow is undefined',
    'signal': 'belongs to the program', 'setlocale': 'belongs to the program',
    'chdir': 'belongs to the program', 'umask': 'belongs to the program',
    'putenv': 'belongs to the program', 'setenv': 'belongs to the program',
    'alarm': 'belongs to the program', 'setitimer': 'belongs to the program',
    'select': 'descriptors above 1023', 'pselect': 'the same',
    'strtok': 'hidden state', 'rand': 'hidden state', 'random': 'hidden state',
    'strerror': 'not safe with threads', 'inet_ntoa': 'hidden state',
    'sleep': 'waits on no clock of ours', 'usleep': 'the same', 'nanosleep': 'the same',
    'g_usleep': 'the same',
    'pthread_create': 'no thread', 'g_thread_new': 'no thread', 'g_thread_try_new': 'no thread',
    'g_thread_pool_new': 'no thread',
    'g_main_context_new': 'only where waiting needs one',
    'g_main_loop_new': 'no main loop',
}
# What an object may use nevertheless, and why.
EXCEPTIONS = {
    ('base_error.c.o', 'abort'): '&qio_error_abort is for that, in C alone',
    ('base_error.c.o', 'exit'): '&qio_error_fatal is for that, in C alone',
    ('net_resolver.c.o', 'pthread_create'): 'names are looked up in threads of the resolver',
    ('channel_wait-seed.c.o', 'g_main_context_new'): 'a class that has only io_create_watch',
}


def imports(path):
    output = subprocess.run(['nm', '-u', path], check=True, capture_output=True, text=True,
                            timeout=50).stdout
    names = set()
    for line in output.splitlines():
        name = line.split()[-1].split('@')[0]
        names.add(re.sub(r'^__(\w+)_chk$', r'\1', name))
    return names


OBJECTS = sorted((BUILD / 'core').glob('libqio.so.*.p/*.o'))


@pytest.mark.needs('nm')
def test_no_object_imports_what_is_refused():
    assert len(OBJECTS) > 30
    found = {(path.name, name) for path in OBJECTS for name in imports(path)
             if REFUSED.get(name)}
    unknown = found - set(EXCEPTIONS)
    assert not unknown, {name: REFUSED[name] for _, name in unknown}
    unused = {pair for pair in EXCEPTIONS if pair not in found}
    assert not unused, 'exceptions that nobody needs'


@pytest.mark.needs('nm')
def test_the_gate_sees_through_fortified_names(tmp_path):
    (tmp_path / 'bad.c').write_text('#include <stdio.h>\nvoid f(char *b, const char *s)'
                                    '{ sprintf(b, "%s %s", s, s); }\n')
    subprocess.run(['gcc', '-O2', '-D_FORTIFY_SOURCE=2', '-c', tmp_path / 'bad.c', '-o',
                    tmp_path / 'bad.o'], check=True, timeout=50)
    assert 'sprintf' in imports(tmp_path / 'bad.o')


@pytest.mark.needs('nm')
def test_the_library_exports_its_own_names_only():
    output = subprocess.run(['nm', '-D', '--defined-only', LIBRARY], check=True,
                            capture_output=True, text=True, timeout=50).stdout
    names = {line.split()[2].split('@')[0] for line in output.splitlines()
             if line.split()[1] != 'A'}
    assert names
    assert all(name.startswith(('qio_', 'qioh_')) for name in names)
