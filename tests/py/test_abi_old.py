# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that were compiled against an older header: tests/abi/frozen is one, as it was, and
today's header and library have to give it all that it knew."""

import dataclasses

import pytest

from flat import HEADER, LIBRARY, ROOT, abi
from test_abi_header import run

FROZEN = abi.parse(ROOT / 'tests/abi/frozen/qioh-abi.h')


@pytest.mark.needs('gcc')
def test_an_old_client_runs_on_todays_library(tmp_path):
    program = tmp_path / 'old-client'
    run('gcc', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-Wno-unused-parameter',
        '-I', ROOT / 'tests/abi/frozen', ROOT / 'tests/abi/old-client.c', LIBRARY,
        f'-Wl,-rpath,{LIBRARY.parent}', '-o', program)
    assert run(program).split() == ['frozen', 'smaller', 'larger']


def types_of(parameters):
    return [parameter.type for parameter in parameters]


def test_what_the_frozen_header_declares_is_still_there_and_the_same():
    functions = {function.name: function for function in HEADER.functions}
    for old in FROZEN.functions:
        new = functions[old.name]
        assert (new.result, types_of(new.parameters)) == (old.result, types_of(old.parameters))
    for name, (result, parameters) in FROZEN.callbacks.items():
        new_result, new_parameters = HEADER.callbacks[name]
        assert (new_result, types_of(new_parameters)) == (result, types_of(parameters))


def test_constants_keep_their_values_and_structs_only_grow_at_the_end():
    assert FROZEN.constants.items() <= HEADER.constants.items()
    assert FROZEN.typedefs.items() <= HEADER.typedefs.items()
    assert set(FROZEN.handles) <= set(HEADER.handles)
    for name, members in FROZEN.structs.items():
        assert HEADER.structs[name][:len(members)] == members


@pytest.mark.parametrize('change', ['constant', 'result', 'parameter', 'member'])
def test_a_change_is_found(change, monkeypatch):
    header = dataclasses.replace(HEADER, constants=dict(HEADER.constants),
                                 structs=dict(HEADER.structs), functions=list(HEADER.functions))
    if change == 'constant':
        header.constants['QIOH_E_BUSY'] = -70
    elif change == 'member':
        header.structs['qioh_event'] = header.structs['qioh_event'][1:]
    else:
        function = header.functions[-1]
        header.functions[-1] = dataclasses.replace(
            function, **({'result': 'int32_t'} if change == 'result' else {'parameters': []}))
    monkeypatch.setitem(globals(), 'HEADER', header)
    with pytest.raises(AssertionError):
        test_what_the_frozen_header_declares_is_still_there_and_the_same()
        test_constants_keep_their_values_and_structs_only_grow_at_the_end()
