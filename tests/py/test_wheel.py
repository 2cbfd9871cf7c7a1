# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `pip install .` makes: a wheel with the library inside, for each Python of the machine.

The sources are copied to build/wheel/source, a repository of its own, so that what is tested is
what is in the tree, and pip writes nothing there.  The build stays for the next run.
"""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile

import pytest

from flat import BUILD, ROOT
from pythons import pythons

SMOKE = pathlib.Path(__file__).parent / 'wheel_smoke.py'
LEFT_OUT = {'.git', '__pycache__', '.pytest_cache', '.hypothesis', '.mypy_cache'}
# The library once, each module for itself: what the optimizer does is no question here.
ENVIRONMENT = {**{name: value for name, value in os.environ.items()
                  if name not in ('PYTHONPATH', 'LD_LIBRARY_PATH', 'PKG_CONFIG_PATH')},
               'CFLAGS': '-O0'}


def run(*command, **kwargs):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=230, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                          **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources():
    """{path in the tree: where it is}, without what is built."""
    files = {}
    for folder, folders, names in os.walk(ROOT):
        here = pathlib.Path(folder)
        folders[:] = [name for name in folders if name not in LEFT_OUT and
                      not (here == ROOT and name.startswith('build'))]
        files.update((str((here / name).relative_to(ROOT)), here / name) for name in names
                     if name != '.git' and not name.endswith('.pyc'))
    return files


def copy_sources(target):
    """The tree without what is built; a file that has not changed keeps its time."""
    files = sources()
    for name, source in files.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    for path in list(target.rglob('*')):
        name = path.relative_to(target)
        # meson-python keeps a file of its own there, by which it knows its build folder again.
        if path.is_file() and not str(name).startswith(('.git/', '.mesonpy')) and \
                str(name) not in files:
            path.unlink()
    git = ['git', '-C', target, '-c', 'user.name=libqio', '-c', 'user.email=libqio@localhost']
    run('git', 'init', '-q', target)
    run(*git, 'add', '-A')
    run(*git, 'commit', '-q', '--allow-empty', '-m', 'The tree as it is')
    return files


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The wheel and the source distribution."""
    if importlib.util.find_spec('mesonpy') is None:
        pytest.skip('not installed: meson-python')
    source, build = BUILD / 'wheel/source', BUILD / 'wheel/build'
    source.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp('dist')
    files = copy_sources(source)
    others = ','.join(python.path for python in pythons())
    run(sys.executable, '-m', 'pip', 'wheel', '--no-build-isolation', '--no-deps', '--no-index',
        '-q', '-w', folder, f'--config-settings=builddir={build}',
        f'--config-settings=setup-args=-Dextra-pythons={others}', source)
    run(sys.executable, '-c', 'import mesonpy, sys; mesonpy.build_sdist(sys.argv[1], '
        '{"builddir": sys.argv[2]})', folder, build, cwd=source)
    wheel, = folder.glob('*.whl')
    sdist, = folder.glob('*.tar.gz')
    return types.SimpleNamespace(wheel=wheel, sdist=sdist, files=files,
                                 tree=build / 'bindings/python')


pytestmark = [pytest.mark.timeout(240), pytest.mark.needs('meson', 'ninja', 'swig', 'git', 'gcc', 'mypy')]


def test_the_wheel_holds_the_package_and_nothing_else(made):
    names = set(zipfile.ZipFile(made.wheel).namelist())
    package = {name for name in names if name.startswith('qio/')}
    modules = {name for name in package if name.endswith('.so')}
    assert len(modules) == 1
    python = {f'qio/{path.name}' for path in (ROOT / 'bindings/python/qio').iterdir()
              if path.suffix in ('.py', '.pyi', '.typed') or path.name == 'py.typed'}
    assert package - modules == python
    others = {name.split('/')[0] for name in names - package}
    assert others == {f'{"-".join(made.wheel.name.split("-")[:2])}.dist-info'}


def test_the_module_has_the_library_inside_and_shows_none_of_it(made, tmp_path):
    with zipfile.ZipFile(made.wheel) as wheel:
        module, = (name for name in wheel.namelist() if name.endswith('.so'))
        path = wheel.extract(module, tmp_path)
    assert 'libqio' not in run('ldd', path)
    shown = [line.split()[-1] for line in run('nm', '-D', '--defined-only', path).splitlines()]
    assert shown == ['PyInit__qio']


def test_the_wheel_works_in_an_environment_of_its_own(made, tmp_path):
    environment = tmp_path / 'environment'
    run(sys.executable, '-m', 'venv', '--without-pip', environment)
    python = environment / 'bin/python'
    run(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index',
        '-q', made.wheel)
    where = run(python, '-X', 'dev', '-W', 'error', SMOKE, cwd=tmp_path).strip()
    assert pathlib.Path(where).is_relative_to(environment)
    assert run(environment / 'bin/qio', 'exec:echo?arg=through') == 'through\n'
    # Its types too: py.typed and the stub are where a checker looks.
    run(sys.executable, '-m', 'mypy', '--strict', '--cache-dir', BUILD / 'wheel/mypy',
        '--python-executable', python, SMOKE.parent / 'typed/programs.py', cwd=tmp_path)


def test_pip_installs_from_the_tree(made, tmp_path):
    """The README's one line, with the build that is there already; by the same interpreter,
    because the build would be one for another else."""
    run(sys.executable, '-m', 'pip', 'install', '--no-build-isolation', '--no-deps', '--no-index',
        '-q', f'--config-settings=builddir={BUILD / "wheel/build"}', '--target', tmp_path / 'site',
        BUILD / 'wheel/source')
    where = run('env', f'PYTHONPATH={tmp_path / "site"}', sys.executable, '-W', 'error', SMOKE,
                cwd=tmp_path)
    assert pathlib.Path(where.strip()) == tmp_path / 'site/qio'


def test_the_source_distribution_is_the_tree(made):
    with tarfile.open(made.sdist) as archive:
        members = {name.partition('/')[2]: archive.extractfile(member).read()
                   for name, member in zip(archive.getnames(), archive.getmembers())
                   if member.isfile()}
    members.pop('PKG-INFO')
    assert members == {name: path.read_bytes() for name, path in made.files.items()}


def test_the_interpreter_that_the_build_is_for_is_among_those_found():
    assert sys.version_info[:2] in {python.version for python in pythons()}


@pytest.mark.parametrize('python', pythons(), ids=lambda python: python.path.replace('/', '_'))
def test_every_python_of_the_machine_imports_and_works(made, python):
    assert (made.tree / 'qio' / f'_qio{python.suffix}').exists()
    environment = {**ENVIRONMENT, 'PYTHONPATH': str(made.tree),
                   'PYTHONDONTWRITEBYTECODE': '1'}
    done = subprocess.run([python.path, '-X', 'dev', '-W', 'error', str(SMOKE)],
                          capture_output=True, text=True, timeout=50, env=environment)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.strip() == str(made.tree / 'qio')
