#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keeps the tables of docs/architecture.md true: one row a file, from the file's own head.

usage: rooms.py [--check] [SOURCE-ROOT]

Each source file opens with a comment whose first sentence is "folder/name: what it is." (a
Python or Lua module may leave its name out).  A line `<!-- rooms: FOLDER -->` in the document starts a table of FOLDER's files, up to the next
`<!-- end -->`.  --check writes nothing and fails when a table is stale, when a file has no such
sentence, or when a folder with sources has no table.
"""

import os
import re
import sys

DOCUMENT = 'docs/architecture.md'
CODE = ('.c', '.h', '.py', '.lua', '.i', '.swg')
HOUSES = ('core', 'bindings')
TABLE = re.compile(r'(<!-- rooms: (\S+) -->\n).*?(<!-- end -->)', re.S)


def head_text(path):
    """The first comment or docstring after the license line, as one line of text."""
    with open(path, encoding='utf-8') as file:
        text = file.read(4000)
    match = re.search(r'/\*(?!\s*SPDX)(.*?)\*/|"""(.*?)"""|((?:^--(?! SPDX).*\n)+)', text,
                      re.S | re.M)
    if not match:
        return ''
    body = next(part for part in match.groups() if part)
    lines = [re.sub(r'^\s*(?:\*|--+)?\s?', '', line) for line in body.splitlines()]
    return ' '.join(' '.join(lines).split())


def first_sentence(path):
    """What the head says, up to the first full stop, less the file's (or the module's) own name,
    without which a C file's head says nothing about it."""
    text = head_text(path)
    named = re.match(r'(?:\S*/)?%s:\s+' % re.escape(os.path.basename(path)), text)
    if path.endswith(('.py', '.lua')):
        named = named or re.match(r'(?:qio[\w.]*:\s+)?', text)
    if not named:
        return ''
    return re.match(r'(.*?)(?:\.(?:\s|$)|$)', text[named.end():]).group(1)


def folder_files(root, folder):
    place = os.path.join(root, folder)
    if not os.path.isdir(place):
        return []
    return sorted(name for name in os.listdir(place)
                  if name.endswith(CODE) and not os.path.islink(os.path.join(place, name)))


def folders_with_sources(root):
    for house in HOUSES:
        for folder, dirs, _files in os.walk(os.path.join(root, house)):
            dirs[:] = [d for d in dirs if d != '__pycache__']
            relative = os.path.relpath(folder, root)
            if folder_files(root, relative):
                yield relative


def table(root, folder, problems):
    rows = ['| file | what it is |', '|---|---|']
    for name in folder_files(root, folder):
        path = os.path.join(root, folder, name)
        with open(path, encoding='utf-8') as file:
            derived = 'Derived by tools/' in file.readline()
        sentence = first_sentence(path)
        if not sentence and not derived:
            problems.append(f"{folder}/{name}: its head does not start with '{name}: what it is.'")
        rows.append(f'| `{name}` | {sentence or "derived by a script"} |')
    return '\n'.join(rows) + '\n'


def main():
    check = '--check' in sys.argv
    places = [a for a in sys.argv[1:] if not a.startswith('--')]
    root = places[0] if places else os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.path.join(root, DOCUMENT)
    problems = []
    with open(path, encoding='utf-8') as file:
        old = file.read()
    new = TABLE.sub(lambda m: m.group(1) + table(root, m.group(2), problems) + m.group(3), old)
    named = {m.group(2) for m in TABLE.finditer(old)}
    problems += [f'{DOCUMENT}: no table of {folder}' for folder in folders_with_sources(root)
                 if folder not in named]
    if check and new != old:
        problems.append(f'{DOCUMENT}: a table is stale: run tools/rooms.py')
    if not check and new != old:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(new)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


sys.exit(main())
