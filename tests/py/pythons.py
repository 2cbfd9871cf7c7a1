# SPDX-License-Identifier: LGPL-2.1-or-later
"""The CPython interpreters of this machine that the package is for."""

import functools
import glob
import json
import os
import shutil
import subprocess
import typing

OLDEST, NEWEST = 9, 13
_FACTS = ('import json, os, sys, sysconfig; print(json.dumps([list(sys.version_info[:2]), '
          'os.path.realpath(sys.executable), sysconfig.get_config_var("EXT_SUFFIX"), '
          'os.path.exists(sysconfig.get_path("include") + "/Python.h")]))')


class Python(typing.NamedTuple):
    """One interpreter with its headers."""

    path: str
    version: tuple
    suffix: str


def _candidates():
    """python3.N on the path, and in the versions that pyenv keeps, whichever it has chosen."""
    roots = {os.environ.get('PYENV_ROOT')}
    if shutil.which('pyenv'):
        roots.add(subprocess.run(['pyenv', 'root'], capture_output=True, text=True,
                                 timeout=20).stdout.strip())
    folders = os.environ['PATH'].split(os.pathsep)
    # A folder of shims tells of its root where neither the program nor the variable is there.
    roots |= {os.path.dirname(folder) for folder in folders if os.path.basename(folder) == 'shims'}
    for root in sorted(filter(None, roots)):
        folders += sorted(glob.glob(os.path.join(glob.escape(root), 'versions/*/bin')))
    for folder in folders:
        for minor in range(OLDEST, NEWEST + 1):
            path = os.path.join(folder, f'python3.{minor}')
            if os.access(path, os.X_OK):
                yield path


def _ask(path):
    """The Python behind a path, None when there is none that modules can be built for."""
    done = subprocess.run([path, '-c', _FACTS], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        return None             # a shim of a version that is not chosen
    version, executable, suffix, headers = json.loads(done.stdout)
    return Python(executable, tuple(version), suffix) if headers else None


@functools.lru_cache(maxsize=None)
def pythons():
    """Each interpreter once, the oldest first."""
    found = {python.path: python for python in map(_ask, dict.fromkeys(_candidates())) if python}
    return sorted(found.values(), key=lambda python: (python.version, python.path))
