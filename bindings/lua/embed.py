#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the Lua layer as a C file for programs that embed it.

usage: embed.py OUTPUT ROOT FILE ...

Owns: the form of qio_chunks.c.  The build runs it whenever a file of the layer changes; the test
of the embedding compares what is in the library with the files.
"""

import os
import pathlib
import sys

ESCAPES = {ord('\\'): '\\\\', ord('"'): '\\"', ord('\n'): '\\n', ord('?'): '\\?'}


def literal(data):
    """One C string for each line; every other byte is printable or octal."""
    for line in data.splitlines(keepends=True):
        text = ''.join(ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f'\\{byte:03o}')
                       for byte in line)
        yield f'        "{text}"'


def main(output, root, *files):
    parts = ['/* SPDX-License-Identifier: LGPL-2.1-or-later */',
             '/* Derived by bindings/lua/embed.py from the Lua layer. */',
             '#include "qio_chunks.h"', '', 'const qio_chunk qio_chunks[] = {']
    for path in sorted(pathlib.Path(file).resolve() for file in files):
        name = os.path.relpath(path, root).replace(os.sep, '/')
        data = path.read_bytes()
        module = name.removesuffix('.lua').replace('/', '.')
        parts.append(f'    {{ "{module}", "{name}",\n' + '\n'.join(literal(data)) +
                     f', {len(data)} }},')
    parts.append('    { 0, 0, 0, 0 }\n};\n')
    pathlib.Path(output).write_text('\n'.join(parts), encoding='ascii')


if __name__ == '__main__':
    main(*sys.argv[1:])
