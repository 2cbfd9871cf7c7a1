# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stub of the C half says what the C half is, and the Python half is annotated."""

import ast
import inspect
import pathlib
import types

import pytest

import qio
from qio import _qio

PACKAGE = pathlib.Path(qio.__file__).parent
STUB = ast.parse((PACKAGE / '_qio.pyi').read_text(encoding='utf-8'))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}


def signature_of(node, method):
    """The stub's signature without annotations: names, kinds, defaults."""
    arguments = node.args
    positional = arguments.posonlyargs + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    result = []
    for argument, default in zip(positional, defaults):
        kind = 'POSITIONAL_ONLY' if argument in arguments.posonlyargs else 'POSITIONAL_OR_KEYWORD'
        result.append((argument.arg, kind, default and ast.literal_eval(default)))
    if method and result[0][0] == 'self':
        # the stub's "self, b, /" makes self positional-only too; a bound method has none
        result = result[1:]
    if arguments.vararg:
        result.append((arguments.vararg.arg, 'VAR_POSITIONAL', None))
    if arguments.kwarg:
        result.append((arguments.kwarg.arg, 'VAR_KEYWORD', None))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults):
        result.append((argument.arg, 'KEYWORD_ONLY', default and ast.literal_eval(default)))
    return result


def signature_of_object(function, method):
    result = []
    for parameter in inspect.signature(function).parameters.values():
        if method and parameter.name == 'self':
            continue
        default = None if parameter.default is parameter.empty else parameter.default
        result.append((parameter.name, parameter.kind.name, default))
    return result


def public(cls):
    """What a class itself defines, without what every class has."""
    every = set(dir(object)) | {'__module__', '__new__', '__dict__', '__weakref__', '__doc__',
                                '__weaklistoffset__', '__del__', '__slots__'}
    return {name for name in vars(cls) if name not in every}


@pytest.mark.parametrize('name', CLASSES)
def test_a_class_has_exactly_the_members_of_its_stub(name):
    members = {node.name for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}
    assert public(getattr(_qio, name)) == members - {'__init__'}


@pytest.mark.parametrize('name, node', [
    (f'{cls.name}.{node.name}', node) for cls in CLASSES.values() for node in cls.body
    if isinstance(node, ast.FunctionDef) and not node.decorator_list and node.name != '__init__'],
    ids=lambda value: value if isinstance(value, str) else '')
def test_a_method_has_the_signature_of_its_stub(name, node):
    cls, method = name.split('.')
    function = getattr(getattr(_qio, cls), method)
    assert signature_of_object(function, True) == signature_of(node, True)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_function_has_the_signature_of_its_stub(name):
    function = getattr(_qio, name)
    expected = [p[:2] for p in signature_of(FUNCTIONS[name], False)]
    assert [p[:2] for p in signature_of_object(function, False) if p[0] != 'module'] == expected


def test_the_module_has_exactly_the_functions_of_its_stub():
    functions = {name for name, value in vars(_qio).items()
                 if isinstance(value, types.BuiltinFunctionType)}
    assert functions == set(FUNCTIONS)


def test_every_constant_of_the_stub_is_there():
    for node in STUB.body:
        if isinstance(node, ast.AnnAssign):
            kind = object if node.target.id == 'TRY' else int
            assert isinstance(getattr(_qio, node.target.id), kind)


def test_every_method_has_a_help_text():
    for cls in (qio.Channel, qio.Listener, qio.Loop, qio.Watch, qio.Fd, qio.CommandChannel,
                qio.BufferChannel, qio.Deadline, qio.Cond, qio.TLSChannel, qio.TLSCreds, qio.TLSInfo,
                qio.WebSocketChannel, qio.WebSocketRequest):
        assert cls.__doc__ and len(cls.__doc__) > 20
        for name, member in inspect.getmembers(cls):
            if name.startswith('_') or cls is qio.Cond:
                continue
            assert inspect.getdoc(member), f'{cls.__name__}.{name} has no help'


def functions_of(module):
    for name, value in vars(module).items():
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            yield name, value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for member_name, member in vars(value).items():
                if isinstance(member, property):
                    member = member.fget
                if isinstance(member, types.FunctionType) and \
                        member.__module__ == module.__name__:
                    yield f'{name}.{member_name}', member


@pytest.mark.parametrize('name', ['channel', 'conditions', 'deadline', 'errors', 'fd', 'listener',
                                  'loop', 'opening', 'options', 'tls', 'websocket'])
def test_the_python_half_is_annotated(name):
    module = getattr(qio, name) if hasattr(qio, name) and isinstance(
        getattr(qio, name), types.ModuleType) else __import__(f'qio.{name}', fromlist=['x'])
    for where, function in functions_of(module):
        if where.split('.')[0].startswith('_') or where.split('.')[-1].startswith('_env'):
            continue
        if where.split('.')[-1].startswith('_') and not where.split('.')[-1].startswith('__'):
            continue
        signature = inspect.signature(function)
        missing = [p for p in signature.parameters.values()
                   if p.annotation is p.empty and p.name not in ('self', 'cls')]
        assert not missing, f'{where}: {missing}'
        assert signature.return_annotation is not signature.empty, where


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / 'py.typed').exists()
