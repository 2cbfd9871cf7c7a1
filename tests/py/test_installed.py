# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a C program finds once the library is installed: headers, pkg-config file, symbols."""

import os
import subprocess

import pytest

from flat import BUILD, ROOT

SOURCES = ROOT / 'tests/installed'


def run(*command, **environment):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=55, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installed:
    def __init__(self, root):
        run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', root)
        found = [path for path in root.rglob('qio.pc')]
        assert len(found) == 1
        self.libdir = found[0].parents[1]
        self.headers = next(root.rglob('include/qio'))
        self.environment = {
            'PKG_CONFIG_PATH': str(found[0].parent), 'PKG_CONFIG_SYSROOT_DIR': str(root),
        }
        self.root = root

    def flags(self):
        """With the system's own headers found in the system, not below the folder."""
        own, others = [], []
        for flag in run('pkg-config', '--cflags', '--libs', 'qio', **self.environment).split():
            path = flag[2:]
            (own if os.path.exists(path) or flag.startswith('-l') else others).append(flag)
        return own + [flag[:2] + flag[2:].replace(str(self.root), '', 1) for flag in others]

    def build(self, compiler, source, out, *options):
        run(compiler, '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter',
            '-Wno-missing-field-initializers', *options, SOURCES / source, *self.flags(),
            '-pthread', '-o', out)
        return run(out, LD_LIBRARY_PATH=str(self.libdir))


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp('root'))


@pytest.mark.needs('gcc', 'g++', 'meson', 'pkg-config')
@pytest.mark.parametrize('compiler, options', [
    ('gcc', ['-std=gnu11']), ('g++', ['-x', 'c++', '-std=gnu++11'])])
def test_every_declaration_of_the_2018_header(installed, compiler, options, tmp_path):
    output = installed.build(compiler, 'seed-api.c', tmp_path / 'seed-api', *options)
    assert output == '30 functions, 10 members, type qio-channel\n'


@pytest.mark.needs('gcc', 'meson', 'pkg-config')
def test_a_class_written_from_the_2018_header_alone(installed, tmp_path):
    installed.build('gcc', 'seed-subclass.c', tmp_path / 'seed-subclass', '-std=gnu11', '-g')


@pytest.mark.needs('gcc', 'g++', 'meson', 'pkg-config')
@pytest.mark.parametrize('compiler, suffix', [('gcc', 'c'), ('g++', 'cc')])
def test_every_public_header_stands_alone(installed, compiler, suffix, tmp_path):
    headers = sorted(installed.headers.glob('*.h'))
    assert len(headers) > 15
    for header in headers:
        source = tmp_path / f'{header.stem}.{suffix}'
        if header.name == 'qioh-abi.h':
            continue        # qioh.h is its wrapper
        source.write_text(f'#include <qio/{header.name}>\nint main(void) {{ return 0; }}\n')
        run(compiler, '-fsyntax-only', '-Wall', '-Wextra', '-Werror', source, *installed.flags())


@pytest.mark.needs('meson')
def test_public_headers_are_those_that_qio_h_leads_to(installed):
    from flat import abi
    assert {path.name for path in installed.headers.glob('*.h')} == set(abi.public_headers())
