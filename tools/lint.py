#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the form of every source file; run by `meson test`.

usage: lint.py [SOURCE-ROOT] | lint.py --self-test

Owns: the rules below and the lists of files they do not hold for.  An entry of a list needs
its reason beside it.
"""

import os
import re
import sys
import tempfile

MAX_LINES = 650
MAX_COLUMNS = 100
SMALL = 40                      # a file below this may say what it owns in one line
LINES_EXCEPTIONS = {            # path: reason
    'core/abi/qioh-abi.h': 'one file for parsers that know no #include',
    'tests/abi/frozen/qioh-abi.h': 'a copy of that one',
}
COLUMNS_EXCEPTIONS = {}         # path: reason

CODE = ('.c', '.h', '.i', '.py', '.pyi', '.lua', '.sh', '.js', '.rb', '.pl', '.php',
        '.rs', '.java', '.scm', '.ml', '.go')
SKIPPED_DIRS = re.compile(r'^(\.git|build.*|__pycache__|\.pytest_cache|\.hypothesis|.*\.egg-info)$')
SPDX = 'SPDX-License-Identifier: LGPL-2.1-or-later'

# Waiting a fixed time makes a test slow or flaky, mostly both.  A child that just has to
# live long may run the sleep program for minutes; a library's own sleep may be tested.
SLEEPS = [
    re.compile(r'(?<![\w.:])(?:usleep|nanosleep|clock_nanosleep|g_usleep|sleep)\s*\('),
    re.compile(r'\btime\.sleep\s*\('),
    re.compile(r'\basyncio\.sleep\s*\(\s*(?!0\s*\))'),
    re.compile(r'\bsleep\s+(?:[0-2]?\d(?:\.\d+)?|\.\d+)\b'),
]


def source_files(root):
    """Paths relative to the root, of everything that is a source by name or by its #! line."""
    for folder, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not SKIPPED_DIRS.match(d))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            if name.endswith(CODE) or name in ('meson.build', 'meson_options.txt'):
                yield os.path.relpath(path, root)
            elif '.' not in name or os.path.basename(folder) == '.ci':
                with open(path, 'rb') as file:
                    if file.read(2) == b'#!':
                        yield os.path.relpath(path, root)


def check_head(path, lines):
    """The license in the first line (after #!), and in C a comment that says what is owned."""
    first = 1 if lines and lines[0].startswith('#!') else 0
    if lines and 'Derived by tools/' in lines[0]:
        return              # what derives it says whose it is
    if len(lines) <= first or SPDX not in lines[first]:
        yield first + 1, 'the first line is not ' + SPDX
        return
    if path.endswith(('.c', '.h')):
        head = []
        for line in lines[1:]:
            head.append(line)
            if '*/' in line:
                break
        if not head or not head[0].startswith('/*') or (len(head) < 3 and len(lines) >= SMALL):
            yield 2, 'no comment of three lines or more that says what the file owns'


def check_lines(path, lines):
    if len(lines) > MAX_LINES and path not in LINES_EXCEPTIONS:
        yield len(lines), f'more than {MAX_LINES} lines'
    for number, line in enumerate(lines, 1):
        if '\t' in line and not path.endswith('.go'):      # gofmt wants them
            yield number, 'a tab'
        if line != line.rstrip():
            yield number, 'white space at the end'
        if (path.endswith(('.c', '.h')) and len(line) > MAX_COLUMNS
                and path not in COLUMNS_EXCEPTIONS):
            yield number, f'{len(line)} columns, more than {MAX_COLUMNS}'


def check_sleeps(path, lines):
    if not path.startswith('tests' + os.sep):
        return
    for number, line in enumerate(lines, 1):
        if any(pattern.search(line) for pattern in SLEEPS):
            yield number, 'a test sleeps: wait for what it waits for, or use the test clock'


def check_exceptions(root):
    """A list may not name what no longer breaks the rule."""
    for path in LINES_EXCEPTIONS:
        if not os.path.exists(os.path.join(root, path)):
            yield path, 0, 'is in LINES_EXCEPTIONS but does not exist'
        elif len(read_lines(root, path)) <= MAX_LINES:
            yield path, 0, 'needs no entry in LINES_EXCEPTIONS any more'


def read_lines(root, path):
    with open(os.path.join(root, path), encoding='utf-8') as file:
        return file.read().split('\n')[:-1]


def lint(root):
    """Yields (path, line, what is wrong)."""
    for path in source_files(root):
        try:
            lines = read_lines(root, path)
        except UnicodeDecodeError as error:
            yield path, 0, f'not UTF-8: {error}'
            continue
        for check in (check_head, check_lines, check_sleeps):
            for number, message in check(path, lines):
                yield path, number, message


HEAD = f'/* {SPDX} */\n/*\n * a.c: owns nothing.\n */\n'
PLANTED = [                     # path, text, part of the message that must come (None: none)
    ('core/a.c', HEAD, None),
    ('core/a.c', 'int a;\n', 'the first line is not'),
    ('core/a.c', f'/* {SPDX} */\nint a;\n', 'no comment'),
    ('core/a.c', f'/* {SPDX} */\n/* a.c: all. */\n', None),
    ('core/a.c', f'/* {SPDX} */\n/* a.c: all. */\n' + 'x\n' * 40, 'no comment'),
    ('core/a.c', HEAD + 'int\ta;\n', 'a tab'),
    ('core/a.c', HEAD + 'int a; \n', 'white space'),
    ('core/a.c', HEAD + 'x' * 101 + '\n', '101 columns'),
    ('core/a.c', HEAD + 'x\n' * 650, 'more than 650 lines'),
    ('core/a.c', HEAD + '    sleep(1);\n', None),
    ('tests/c/a.c', HEAD + '    sleep(1);\n', 'sleeps'),
    ('tests/c/a.c', HEAD + '    g_usleep(1000);\n', 'sleeps'),
    ('tests/py/a.py', f'# {SPDX}\ntime.sleep(0.1)\n', 'sleeps'),
    ('tests/py/a.py', f'# {SPDX}\nawait asyncio.sleep(0.1)\n', 'sleeps'),
    ('tests/py/a.py', f'# {SPDX}\nawait asyncio.sleep(0)\n', None),
    ('tests/py/a.py', f'# {SPDX}\nrun("sh", "-c", "sleep 0.1; echo")\n', 'sleeps'),
    ('tests/py/a.py', f'# {SPDX}\nrun("sh", "-c", "sleep 600")\n', None),
    ('tests/lua/a.lua', f'-- {SPDX}\nqio.sleep(0.1)\n', None),
    ('scripts/a', f'#!/bin/sh\n# {SPDX}\n', None),
    ('scripts/a', '#!/bin/sh\necho\n', 'the first line is not'),
    ('docs/a.md', 'no license\n', None),
    ('build-asan/a.c', 'int a;\n', None),
]


def self_test():
    """Each rule finds what breaks it, and nothing else."""
    LINES_EXCEPTIONS.clear()        # those are of this project's files
    COLUMNS_EXCEPTIONS.clear()
    wrong = 0
    for path, text, part in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.dirname(os.path.join(root, path)))
            with open(os.path.join(root, path), 'w', encoding='utf-8') as file:
                file.write(text)
            found = [message for _, _, message in lint(root)]
        if (part is None and found) or (part is not None and not any(part in m for m in found)):
            print(f'{path!r} with {text[-40:]!r}: expected {part!r}, found {found!r}')
            wrong += 1
    print(f'lint: {len(PLANTED) - wrong} of {len(PLANTED)} planted files judged rightly')
    return wrong


def main(args):
    if args == ['--self-test']:
        return 1 if self_test() else 0
    root = args[0] if args else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    count = 0
    for path, number, message in [*lint(root), *check_exceptions(root)]:
        print(f'{path}:{number}: {message}')
        count += 1
    print(f'lint: {count} found in {sum(1 for _ in source_files(root))} files')
    return 1 if count else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
