# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every function of the flat ABI is called by the Python module and by the Lua module, or left out
for a written reason: the list at the head of each module's SWIG file."""

import re
import subprocess

import pytest

from flat import BUILD, FUNCTIONS, ROOT

MODULES = {         # where the reasons are, and what is built from it
    'Python': ('bindings/python/qio.i', 'bindings/python/qio/_qio*.so'),
    'Lua': ('bindings/lua/qio_core.i', 'bindings/lua/5.4/qio/core.so'),
}


def called_by(pattern):
    """The functions that a module's machine code leaves to the library."""
    module, = BUILD.glob(pattern)
    symbols = subprocess.run(['nm', '-D', '--undefined-only', module], capture_output=True,
                             text=True, check=True).stdout
    return set(re.findall(r'\bqioh_\w+', symbols))


def left_out(text):
    """{function: reason} of the head comment's list: names, then, further in, the reason."""
    block = text[text.index('What is left out of the ABI'):]
    block = block[block.index('\n'):block.index('*/')]
    reasons, names = {}, []
    for line in block.splitlines():
        line = line.removeprefix(' *')
        if not line.strip():
            continue
        if line.startswith('    '):         # further in
            reasons.update({f'qioh_{name}': line.strip() for name in names})
            names = []
        else:
            names += [word for word in line.split() if word.isidentifier() and '_' in word]
    assert not names, f'no reason for {names}'
    return reasons


@pytest.mark.needs('nm')
@pytest.mark.parametrize('language', MODULES)
def test_every_function_is_there_or_left_out_for_a_reason(language):
    source, pattern = MODULES[language]
    reasons = left_out((ROOT / source).read_text(encoding='utf-8'))
    missing = set(FUNCTIONS) - called_by(pattern)
    assert missing <= set(reasons), f'in {source}: neither called nor in the list at its head'
    assert set(reasons) <= set(FUNCTIONS), f'in {source}: no such function any more'


def test_the_list_is_read_as_it_is_meant():
    text = """ * What is left out of the ABI, and why:
 *   channel_a channel_b
 *   loop_c
 *       because of this
 *   loop_d and the like
 *       and of that
 */"""
    assert left_out(text) == {'qioh_channel_a': 'because of this',
                              'qioh_channel_b': 'because of this',
                              'qioh_loop_c': 'because of this', 'qioh_loop_d': 'and of that'}
    with pytest.raises(AssertionError, match='no reason'):
        left_out(' * What is left out of the ABI\n *   channel_a\n */')
