#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the library's ABI with the baseline that programs were built against; run by pytest.

usage: baseline.py --check LIBRARY | --write LIBRARY | --reference LIBRARY

Owns: tests/abi/qioh.abi (the flat ABI) and tests/abi/qio.abi (the channel API), made by abidw from
debugging information; tests/abi/classes.txt, the places of the members that subclasses are compiled
with (no exported function leads to them); tests/abi/allowed.suppr, in libabigail's format: a change that is meant, each
with its reason.  Functions that are new are no change (symbols.txt shows them in review); anything
else that abidiff reports fails.  --write makes the baseline anew, at a release: it forgets what was
allowed, so empty allowed.suppr then.

Debugging information is a compiler's own view, so the reference is Debian 12's gcc; --reference
says whether it made the library (status 0), and why not.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'tests/abi'
PARTS = {'qioh': '^qioh_', 'qio': '^qio_'}
REFERENCE = b'GCC: (Debian 12.'
# The compact form: what is reachable from exported functions, types of other headers by name only.
OPTIONS = ['--drop-private-types', '--drop-undefined-syms', '--exported-interfaces-only',
           '--no-corpus-path', '--no-comp-dir-path', '--no-show-locs', '--no-parameter-names',
           '--no-elf-needed']


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False)


def headers_of(library):
    """The folder of the public headers in the library's build."""
    return library.resolve().parent / 'include/qio'


def describe(library, part, path):
    """What the library exports of a part, into a file."""
    with tempfile.NamedTemporaryFile('w', suffix='.suppr') as scope:
        for kind in ('function', 'variable'):
            scope.write(f'[suppress_{kind}]\n  symbol_name_not_regexp = {PARTS[part]}\n'
                        '  drop = yes\n')
        scope.flush()
        done = run('abidw', '--suppressions', scope.name, '--headers-dir', headers_of(library),
                   *OPTIONS, '--out-file', path, library)
    if done.returncode != 0:
        raise SystemExit(f'abidw: {done.stdout}{done.stderr}')


def compare(before, now):
    """What abidiff has to say: '' when nothing, else its report."""
    done = run('abidiff', '--no-added-syms', '--suppressions', FOLDER / 'allowed.suppr', before,
               now)
    if done.returncode == 0:
        return ''
    return f'abidiff ended with {done.returncode}:\n{done.stdout}{done.stderr}'


# ---- classes ----

# What a subclass embeds, and the header that has it.
CLASSES = {'QIOChannel': 'channel.h', 'QIOChannelClass': 'channel.h'}


def members_of(struct, text):
    """The names of the members, but for what is kept free for later ones."""
    body = re.search(rf'^struct {struct} {{\n(.*?)^}};', text, re.S | re.M).group(1)
    body = re.sub(r'/\*.*?\*/', '', body, flags=re.S)
    for member in filter(str.strip, body.split(';')):
        function = re.match(r'[^(]*\(\*(\w+)\)', member)
        name = function.group(1) if function else re.findall(r'\w+', member.split('[')[0])[-1]
        if name != 'reserved':
            yield name


def describe_classes(library):
    """{'QIOChannelClass': size, 'QIOChannelClass.io_readv': place ...}, from a compiler."""
    folder = headers_of(library)
    lines = ['#include <qio/channel.h>', '#include <stddef.h>', '#include <stdio.h>',
             'int main(void) {']
    for struct, header in CLASSES.items():
        lines.append(f'printf("{struct} %zu\\n", sizeof({struct}));')
        for member in members_of(struct, (folder / header).read_text(encoding='utf-8')):
            lines.append(f'printf("{struct}.{member} %zu\\n", offsetof({struct}, {member}));')
    flags = run('pkg-config', '--cflags', 'gobject-2.0').stdout.split()
    with tempfile.TemporaryDirectory() as work:
        source, program = pathlib.Path(work) / 'classes.c', pathlib.Path(work) / 'classes'
        source.write_text('\n'.join(lines + ['return 0; }\n']), encoding='utf-8')
        done = run('gcc', *flags, '-I', folder.parent, source, '-o', program)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        return run(program).stdout


def parse_classes(text):
    return dict(line.split() for line in text.splitlines() if not line.startswith('#'))


def compare_classes(before, now):
    """What moved or went, a line each: members may only be added where there was room."""
    return ''.join(f'{name} was {place}, is {now.get(name, "gone")}\n'
                   for name, place in before.items() if now.get(name) != place)


# ---- all of it ----

def check(library):
    """The reports of all parts, as one text."""
    reports = [compare_classes(parse_classes((FOLDER / 'classes.txt').read_text(encoding='utf-8')),
                               parse_classes(describe_classes(library)))]
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            now = pathlib.Path(folder) / f'{part}.abi'
            describe(library, part, now)
            reports.append(compare(FOLDER / f'{part}.abi', now))
    return ''.join(reports)


def why_no_reference(library):
    """'' when the reference compiler made it, with debugging information."""
    sections = run('readelf', '-S', library).stdout
    comment = library.read_bytes()
    if REFERENCE not in comment:
        return "the library was not compiled by Debian 12's gcc"
    if re.search(rb'clang version|LLVM', comment):
        return 'a part of the library was compiled by another compiler'
    return '' if '.debug_info' in sections else 'the library has no debugging information'


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ('--check', '--write', '--reference'):
        raise SystemExit(__doc__)
    library = pathlib.Path(sys.argv[2])
    reason = why_no_reference(library)
    if reason:
        raise SystemExit(f'{library}: {reason}')
    if sys.argv[1] == '--write':
        for part in PARTS:
            describe(library, part, FOLDER / f'{part}.abi')
        (FOLDER / 'classes.txt').write_text(
            '# Sizes and places of members in the structs that subclasses embed; tools/baseline.py\n'
            '# writes this.\n' + describe_classes(library), encoding='utf-8')
    elif sys.argv[1] == '--check':
        raise SystemExit(check(library) or 0)


if __name__ == '__main__':
    main()
