# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every function of the flat ABI with every kind of handle that is none: the right code, no crash,
with an error struct and without."""

import random

import pytest

from flat import CONST, FUNCTIONS, is_handle, lib, live, new_error
from flat_scene import KINDS, Scene, count_releases, is_optional

random_bits = random.Random(20)


def _end_registration(scene, type_name):
    """A watch that is registered holds a reference on its own handle, for its callback, and so
    does a task until its event is RELEASED."""
    if type_name == 'qioh_watch *':
        assert lib.qioh_watch_remove(scene.handles[type_name], None) == 0
    if type_name in ('qioh_watch *', 'qioh_task *'):
        while lib.qioh_loop_next_events(scene.loop_of_watch, scene.events(), 4, 0, None) > 0:
            pass


def _null(scene, type_name):
    return None


def _used_after_unref(scene, type_name):
    """Closed as well, where that is possible."""
    handle = scene.handles[type_name]
    _end_registration(scene, type_name)
    if type_name in ('qioh_channel *', 'qioh_listener *', 'qioh_loop *'):
        assert getattr(lib, type_name[:-2] + '_close')(handle, None) == 0
    getattr(lib, type_name[:-2] + '_unref')(handle)
    return handle


def _unref_twice(scene, type_name):
    handle = scene.handles[type_name]
    _end_registration(scene, type_name)
    for _ in range(3):
        getattr(lib, type_name[:-2] + '_unref')(handle)
    return handle


def _wrong_kind(scene, type_name):
    other = 'qioh_loop *' if type_name != 'qioh_loop *' else 'qioh_channel *'
    return scene.handles[other]


def _noise(scene, type_name):
    """Odd and above the user half of the address space, as tokens are, and of this kind."""
    return random_bits.getrandbits(45) | 1 | KINDS[type_name] << 45


def _small_number(scene, type_name):
    return 3


def _all_ones(scene, type_name):
    return (1 << 64) - 1


BADHANDLE = {CONST.QIOH_E_BADHANDLE}
WRONGTYPE = {CONST.QIOH_E_WRONGTYPE}
BAD = {
    'null': (_null, BADHANDLE),
    'used after close and unref': (_used_after_unref, BADHANDLE),
    'unref three times': (_unref_twice, BADHANDLE),
    'wrong kind': (_wrong_kind, WRONGTYPE),
    'noise': (_noise, BADHANDLE),
    'small number': (_small_number, BADHANDLE),
    'all ones': (_all_ones, BADHANDLE),
}

CASES = [(name, index) for name, function in FUNCTIONS.items()
         for index, parameter in enumerate(function.parameters) if is_handle(parameter.type)]


def call(function, index, handle, scene, error):
    arguments = scene.arguments(function, error)
    arguments[index] = handle
    return getattr(lib, function.name)(*arguments)


def check_bad_handle(function, index, bad, error, directory):
    parameter = function.parameters[index]
    make, codes = BAD[bad]
    scene = Scene(directory)
    handle = make(scene, parameter.type)
    if handle or not is_optional(function, index):
        result = call(function, index, handle, scene, error)
        if function.result in ('void', 'void *') or is_handle(function.result):
            assert result is None
        else:
            assert result in codes
        if error is not None and function.can_fail:
            assert error.code in codes
            assert parameter.type[len('qioh_'):-2] in error.message.decode()
        loop = scene.handles['qioh_loop *']
        if lib.qioh_loop_wait(loop, 0, None) == 1:
            lib.qioh_loop_dispatch(loop, 0, None)
        assert scene.releases == count_releases(function)
    scene.end()


# One test a parameter, not one a combination: what is checked around each costs more than it.
@pytest.mark.parametrize('name, index', CASES)
def test_bad_handle(name, index, tmp_path):
    before = live()
    for bad in BAD:
        for error in (new_error(), None):
            print(f'{bad}, {"with" if error else "no"} error')
            check_bad_handle(FUNCTIONS[name], index, bad, error, tmp_path)
    assert live() == before


@pytest.mark.parametrize('name', FUNCTIONS)
def test_right_arguments_are_taken(name, tmp_path):
    """So that the cases above fail for their handle and nothing else."""
    function = FUNCTIONS[name]
    before = live()
    scene = Scene(tmp_path)
    error = new_error()
    arguments = scene.arguments(function, error)
    result = getattr(lib, name)(*arguments)
    refused = {CONST.QIOH_E_AGAIN, CONST.QIOH_E_NOTSUP, CONST.QIOH_E_TIMEOUT,
               CONST.QIOH_E_SYSTEM}
    if function.result in ('void', 'const char *', 'uint32_t'):
        pass
    elif function.result == 'void *' or is_handle(function.result):
        assert result or error.code in refused, error.message
    else:
        assert result >= 0 or result in refused, error.message
    if function.name.endswith('_unref'):
        scene.handles.pop(function.parameters[0].type)
    if result is not None:
        scene.took(function, result, arguments)
    scene.end()
    assert live() == before


# ---- closed, and still ours ----

CLOSABLE = {'qioh_channel *', 'qioh_listener *', 'qioh_loop *'}
CLOSED_CASES = [(name, index) for name, index in CASES
                if FUNCTIONS[name].parameters[index].type in CLOSABLE and
                not name.endswith('_unref')]


def test_a_second_close_is_no_failure(tmp_path):
    scene = Scene(tmp_path)
    for type_name in CLOSABLE:
        close = getattr(lib, type_name[:-2] + '_close')
        for _ in range(2):
            error = new_error()
            assert close(scene.handles[type_name], error) == 0
            assert error.code == 0
    scene.end()


@pytest.mark.parametrize('name, index', CLOSED_CASES)
def test_closed_handle(name, index, tmp_path):
    """What is known stays readable; anything else is CLOSED, or what is wrong apart from that."""
    function, error, before = FUNCTIONS[name], new_error(), live()
    scene = Scene(tmp_path)
    arguments = scene.arguments(function, error)
    close = getattr(lib, function.parameters[index].type[:-2] + '_close')
    assert close(arguments[index], None) == 0
    result = getattr(lib, name)(*arguments)
    failed = not result if is_handle(function.result) else result < 0
    if failed:
        assert error.code in {CONST.QIOH_E_CLOSED, CONST.QIOH_E_NOTSUP, CONST.QIOH_E_WRONGTYPE,
                              CONST.QIOH_E_INVAL}, error.message
        assert error.message
    else:
        scene.took(function, result, arguments)
    loop = scene.handles['qioh_loop *']
    if lib.qioh_loop_wait(loop, 0, None) == 1:
        lib.qioh_loop_dispatch(loop, 0, None)
    assert scene.releases <= 1      # test_abi_release.py looks closer
    scene.end()
    assert live() == before
