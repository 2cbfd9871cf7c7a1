# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README shows the example files as they are, and every place it points to is there."""

import os
import re

import pytest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../..'))


def text(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as file:
        return file.read()


README = text('README.md')
BLOCKS = re.findall(r'```\w+\n(.*?)```', README, re.S)


@pytest.mark.parametrize('path', ['examples/hello.py', 'examples/layers.py', 'examples/hello.lua',
                                  'examples/ffi/hello.lua', 'examples/hello.c'])
def test_the_readme_shows_the_example_as_it_is(path):
    shown = re.sub(r'\A.*SPDX-License-Identifier.*\n', '', text(path))
    assert shown in BLOCKS


@pytest.mark.parametrize('page', ['README.md', *sorted(
    'docs/' + name for name in os.listdir(os.path.join(ROOT, 'docs')) if name.endswith('.md'))])
def test_links_lead_somewhere(page):
    folder = os.path.dirname(os.path.join(ROOT, page))
    links = [link.split('#')[0] for link in re.findall(r'\]\(([^)\s]+)\)', text(page))
             if not link.startswith(('http:', 'https:', '#'))]
    missing = [link for link in links if not os.path.exists(os.path.join(folder, link))]
    assert not missing
