# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library against the ABI that programs were built with (tools/baseline.py), and the gate
itself against planted changes."""

import importlib.util
import re
import subprocess

import pytest

from flat import LIBRARY, ROOT, abi

pytestmark = pytest.mark.needs('abidiff', 'abidw', 'gcc', 'readelf')


def _load():
    spec = importlib.util.spec_from_file_location('baseline', ROOT / 'tools/baseline.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


baseline = _load()


def test_nothing_that_programs_were_built_with_has_changed():
    reason = baseline.why_no_reference(LIBRARY)
    if reason:
        pytest.skip(reason)
    assert baseline.check(LIBRARY) == ''


def test_a_library_of_another_compiler_is_no_reference(tmp_path):
    other = tmp_path / 'other.so'
    other.write_bytes(b'GCC: (GNU) 14.1.0')
    assert 'not compiled by' in baseline.why_no_reference(other)
    other.write_bytes(b'GCC: (Debian 12.2.0-14) 12.2.0')
    assert 'no debugging information' in baseline.why_no_reference(other)


# (what is changed, in the text of which file, from, to): each a change that breaks programs.
PLANTED = {
    'a function is gone': ('qioh', "qioh_loop_wakeup'", "qioh_loop_gone'"),
    'a constant moved': ('qio', r"(<enumerator name='QIO_ERROR_BUSY' value=')-7'", r"\g<1>-77'"),
    'a member changed places': (
        'qioh', r"(layout-offset-in-bits=')128('(?s:.(?!layout-offset))*name='cookie')",
        r'\g<1>192\2'),
    'a struct has grown': ('qioh', r"(<class-decl name='qioh_event' size-in-bits=')512'",
                           r"\g<1>448'"),
    'a soname is another': ('qioh', "soname='libqio.so.0'", "soname='libqio.so.9'"),
}


def planted(part, old, new, tmp_path):
    text = (baseline.FOLDER / f'{part}.abi').read_text(encoding='utf-8')
    changed = re.sub(old, new, text)
    assert changed != text
    path = tmp_path / f'{part}.abi'
    path.write_text(changed, encoding='utf-8')
    return path


@pytest.mark.parametrize('change', PLANTED)
def test_the_gate_finds(change, tmp_path):
    part, old, new = PLANTED[change]
    before = planted(part, old, new, tmp_path)
    assert 'abidiff ended with' in baseline.compare(before, baseline.FOLDER / f'{part}.abi')


def test_the_gate_finds_another_parameter(tmp_path):
    text = (baseline.FOLDER / 'qioh.abi').read_text(encoding='utf-8')
    function = re.search(r"<function-decl name='qioh_loop_wait'.*?</function-decl>", text, re.S)
    types = re.findall(r"<parameter type-id='([^']+)'", function.group())
    changed = function.group().replace(f"'{types[1]}'", f"'{types[0]}'")
    before = planted('qioh', re.escape(function.group()), changed, tmp_path)
    assert 'qioh_loop_wait' in baseline.compare(before, baseline.FOLDER / 'qioh.abi')


def test_a_new_function_is_no_change(tmp_path):
    text = (baseline.FOLDER / 'qioh.abi').read_text(encoding='utf-8')
    path = tmp_path / 'qioh.abi'
    text = re.sub(r"<function-decl name='qioh_loop_wakeup'.*?</function-decl>", '', text,
                  flags=re.S)
    path.write_text(re.sub(r"<elf-symbol name='qioh_loop_wakeup'[^>]*/>", '', text),
                    encoding='utf-8')
    assert baseline.compare(path, baseline.FOLDER / 'qioh.abi') == ''


def test_members_of_classes_may_only_be_added():
    before = {'QIOChannelClass': '320', 'QIOChannelClass.io_readv': '144'}
    assert baseline.compare_classes(before, {**before, 'QIOChannelClass.io_new': '312'}) == ''
    assert 'is 152' in baseline.compare_classes(before, {**before,
                                                         'QIOChannelClass.io_readv': '152'})
    assert 'is gone' in baseline.compare_classes(before, {'QIOChannelClass': '320'})


@pytest.mark.needs('nm')
def test_the_list_of_symbols_is_compared_both_ways(tmp_path):
    assert abi.check_symbols(LIBRARY) == []
    source, other = tmp_path / 'other.c', tmp_path / 'other.so'
    source.write_text('int qioh_stray(void) { return 1; }\n')
    subprocess.run(['gcc', '-shared', '-o', other, source], check=True)
    problems = abi.check_symbols(other)
    assert 'qioh_stray is exported and not in symbols.txt' in problems
    assert 'qioh_loop_new@@QIOH_1.0 is in symbols.txt and not exported' in problems
