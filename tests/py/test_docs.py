# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples of docs/python.md run, each by itself, and its tables name what there is."""

import pathlib
import re
import subprocess
import sys

import pytest

import qio

TEXT = (pathlib.Path(__file__).parents[2] / 'docs/python.md').read_text(encoding='utf-8')
EXAMPLES = re.findall(r'^## (.*?)\n(?:(?!^## ).)*?^```python\n(.*?)^```', TEXT, re.M | re.S)


def test_there_are_examples():
    assert len(EXAMPLES) == TEXT.count('```python')


@pytest.mark.parametrize('title, code', EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_example(title, code):
    done = subprocess.run([sys.executable, '-X', 'dev', '-W', 'error', '-c', code],
                          capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_every_name_in_code_is_a_name_of_the_module():
    words = set(re.findall(r'qio\.(\w+)', TEXT))
    unknown = {word for word in words if not hasattr(qio, word)}
    assert not unknown


def test_the_table_of_exceptions_is_true():
    rows = re.findall(r'^\| `(\w+Error)` \| (?:`([\w.]*)`)? *\|', TEXT, re.M)
    assert len(rows) >= 10
    for name, base in rows:
        assert issubclass(getattr(qio, name), qio.Error)
        if base:
            module, _, cls = base.rpartition('.')
            expected = getattr(__import__(module or 'builtins'), cls)
            assert issubclass(getattr(qio, name), expected)


def test_every_public_name_is_mentioned():
    missing = [name for name in qio.__all__
               if name not in ('PeerCred', 'OutOfMemoryError', 'ResolveError', 'ERR', 'HUP', 'OUT',
                               'Cond', 'Watch', 'Channel', 'SocketChannel', 'FileChannel',
                               'CommandChannel', 'BufferChannel', 'NullChannel')
               and not re.search(rf'\b{name}\b', TEXT)]
    assert not missing


def test_every_key_stands_in_the_table_of_keys_and_no_other():
    top = pathlib.Path(__file__).parents[2]
    register = (top / 'core/options/option-keys.c').read_text(encoding='utf-8')
    known = set(re.findall(r'^    \{ "([\w-]+)", QIO_OPTION', register, re.M))
    page = (top / 'docs/uris.md').read_text(encoding='utf-8')
    named = set()
    for row in re.findall(r'^\| (`.*?) \|', page[page.index('## Keys'):], re.M):
        named.update(re.findall(r'`([\w-]+)`', row))
    assert named == known
