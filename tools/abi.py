#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""abi.py: everything that follows from core/abi/qioh-abi.h.

Owns: the one parser of that header, the lints of its grammar and of the ownership verbs,
and the files derived from the public headers:

    core/abi/libqio.map     the version script: nodes QIO_1.0 and QIOH_1.0
    core/abi/symbols.txt    the exported symbols with their nodes
    bindings/ownership.i    %newobject and %delobject for SWIG
    docs/abi-reference.md   the functions with their comments, ownership and thread class

The tests import parse() for their tables (misuse, coverage, layouts), so nothing about a
function is written down twice.

    abi.py --write              derive the files again
    abi.py --check              lint, and fail when a derived file is stale
    abi.py --symbols LIBRARY    compare what a library exports with symbols.txt
    abi.py --json               the parsed header, for other tools
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "core/abi/qioh-abi.h"

# The verb after the noun decides ownership of a handle that is returned.
OWNED_VERBS = ("new", "open", "ref", "take", "accept", "start")
BORROWED_VERBS = ("get",)

THREAD_CLASSES = {
    "any thread": "May be called from any thread at any time.",
    "one reader and one writer":
        "One reader and one writer may run at once; anything more gives `QIOH_E_BUSY`.",
    "one thread at a time": "A second concurrent call gives `QIOH_E_BUSY`.",
    "loop thread":
        "Whoever is dispatching; a second concurrent caller gets `QIOH_E_BUSY`. "
        "A loop is not bound to its maker.",
}


class HeaderError(Exception):
    """The header breaks its grammar."""


@dataclasses.dataclass
class Parameter:
    type: str
    name: str


@dataclasses.dataclass
class Function:
    name: str
    result: str
    parameters: list
    comment: str
    section: str
    thread: str
    line: int

    @property
    def can_fail(self):
        return bool(self.parameters) and self.parameters[-1].type == "qioh_error *"


@dataclasses.dataclass
class Header:
    handles: list           # handle type names
    typedefs: dict          # name -> type, of scalars
    constants: dict         # name -> value
    structs: dict           # name -> [(type, member, array length or None)]
    callbacks: dict         # name -> (result, [Parameter])
    functions: list
    sections: dict          # name -> what is common to its functions


# ---- reading ----

TOKEN = re.compile(r"/\*.*?\*/|[A-Za-z_]\w*|-?\d+|[{}()\[\],;=*]|\S", re.S)


def _tokens(text):
    """(token, line) for everything, comments included."""
    line = 1
    position = 0
    for match in TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        yield match.group(), line


def _comment_text(comment):
    lines = comment[2:-2].split("\n")
    return " ".join(re.sub(r"^\s*\*? ?", "", line).strip() for line in lines).strip()


def _join_type(tokens):
    """C spelling: 'const char *const *'."""
    text = ""
    for token in tokens:
        if token == "*":
            text += "*" if text.endswith("*") else " *"
        elif text.endswith("*"):
            text += token
        else:
            text += (" " if text else "") + token
    return text.replace("*const *", "*const *").strip()


def _parse_parameters(tokens, line):
    if tokens == ["void"]:
        return []
    parameters = []
    group = []
    for token in tokens + [","]:
        if token != ",":
            group.append(token)
            continue
        if len(group) < 2 or not re.match(r"[A-Za-z_]\w*$", group[-1]):
            raise HeaderError(f"line {line}: a parameter without a name: {' '.join(group)}")
        parameters.append(Parameter(_join_type(group[:-1]), group[-1]))
        group = []
    return parameters


class _Parser:
    def __init__(self, text):
        self.header = Header([], {}, {}, {}, {}, [], {})
        self.section = ""
        self.section_thread = ""
        self.pending = []       # comments since the last declaration
        self.last = None        # function whose trailing comment may still come
        self._parse(list(_tokens(text)))

    def _parse(self, tokens):
        statement = []
        depth = 0
        end_line = 0
        for token, line in tokens:
            if token.startswith("/*"):
                if statement and depth == 0:
                    raise HeaderError(f"line {line}: a comment inside a declaration")
                if not statement:
                    self._comment(token, line, end_line)
                continue
            if token == "#":
                raise HeaderError(f"line {line}: a preprocessor line")
            if not statement:
                start = line
            statement.append(token)
            depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(token, 0)
            if token == ";" and depth == 0:
                self._statement(statement[:-1], start)
                statement = []
                end_line = line
        if statement:
            raise HeaderError("the header ends inside a declaration")

    def _comment(self, token, line, end_line):
        text = _comment_text(token)
        match = re.match(r"---- (.+?)(?: \[(.+)\])?(?:: (.*?))? ----$", text, re.S)
        if match:
            self.section = match.group(1)
            self.section_thread = match.group(2) or ""
            self.header.sections[self.section] = match.group(3) or ""
            self.pending = []
            self.last = None
        elif self.last and line == end_line:
            self.last.comment = f"{self.last.comment} {text}".strip()
            self._take_thread(self.last)
        else:
            self.pending.append(text)

    def _take_thread(self, function):
        match = re.search(r"\s*\[([a-z ]+)\]\s*", function.comment)
        if match and match.group(1) in THREAD_CLASSES:
            function.thread = match.group(1)
            function.comment = (function.comment[:match.start()] + " " +
                                function.comment[match.end():]).strip()

    def _statement(self, tokens, line):
        comment = " ".join(self.pending)
        self.pending = []
        self.last = None
        if tokens[0] == "enum":
            self._enum(tokens, line)
        elif tokens[0] == "typedef":
            self._typedef(tokens, line)
        elif "(" in tokens:
            self._function(tokens, line, comment)
        else:
            raise HeaderError(f"line {line}: neither a type, an enum nor a function")

    def _enum(self, tokens, line):
        if tokens[1] != "{" or tokens[-1] != "}":
            raise HeaderError(f"line {line}: enums have no name: a parameter cannot have their type")
        body = " ".join(tokens[2:-1])
        for entry in filter(None, (part.strip() for part in body.split(","))):
            match = re.match(r"(QIOH_\w+) = (-?\d+)$", entry)
            if not match:
                raise HeaderError(f"line {line}: '{entry}' is not NAME = number")
            if match.group(1) in self.header.constants:
                raise HeaderError(f"line {line}: {match.group(1)} twice")
            self.header.constants[match.group(1)] = int(match.group(2))

    def _typedef(self, tokens, line):
        if tokens[1] == "struct" and "{" in tokens:
            self._struct(tokens, line)
        elif tokens[1] == "struct":
            if len(tokens) != 4 or tokens[2] != tokens[3]:
                raise HeaderError(f"line {line}: a handle is 'typedef struct NAME NAME'")
            self.header.handles.append(tokens[3])
        elif "(" in tokens:
            first = tokens.index("(")
            if tokens[first + 1] != "*" or tokens[first + 3:first + 5] != [")", "("]:
                raise HeaderError(f"line {line}: not a callback type")
            self.header.callbacks[tokens[first + 2]] = (
                _join_type(tokens[1:first]), _parse_parameters(tokens[first + 5:-1], line))
        else:
            self.header.typedefs[tokens[-1]] = _join_type(tokens[1:-1])

    def _struct(self, tokens, line):
        members = []
        body = tokens[4:-2]
        member = []
        if tokens[2] != tokens[-1]:
            raise HeaderError(f"line {line}: tag and name of a struct differ")
        for token in body:
            if token != ";":
                member.append(token)
                continue
            length = None
            if member[-1] == "]":
                length = int(member[-2])
                member = member[:-3]
            if ":" in member:
                raise HeaderError(f"line {line}: a bit-field")
            if "(" in member:
                members.append(self._op(tokens[2], member, line))
            else:
                members.append((_join_type(member[:-1]), member[-1], length))
            member = []
        self.header.structs[tokens[2]] = members

    def _op(self, struct, tokens, line):
        """A member that is a function: a callback type named after it."""
        first = tokens.index("(")
        if tokens[first + 1] != "*" or tokens[first + 3:first + 5] != [")", "("]:
            raise HeaderError(f"line {line}: not a pointer to a function")
        name = f"{struct}.{tokens[first + 2]}"
        self.header.callbacks[name] = (
            _join_type(tokens[:first]), _parse_parameters(tokens[first + 5:-1], line))
        return name, tokens[first + 2], None

    def _function(self, tokens, line, comment):
        if tokens[-1] != ")" or "{" in tokens:
            raise HeaderError(f"line {line}: a function is declared, nothing else: no body, "
                              "attribute or array")
        first = tokens.index("(")
        function = Function(tokens[first - 1], _join_type(tokens[:first - 1]),
                            _parse_parameters(tokens[first + 1:-1], line), comment,
                            self.section, self.section_thread, line)
        self._take_thread(function)
        self.header.functions.append(function)
        self.last = function


def parse(path=HEADER):
    return _Parser(pathlib.Path(path).read_text(encoding="utf-8")).header


# ---- lints ----

SCALARS = {"int32_t", "uint32_t", "int64_t", "uint64_t", "size_t"}


def _base_type(type_name):
    return re.sub(r"\bconst\b|\*|\s", "", type_name)


def _known_types(header):
    return (SCALARS | set(header.typedefs) | set(header.handles) | set(header.structs) |
            set(header.callbacks) | {"void", "char"})


def _lint_type(header, type_name, where, problems, result=False):
    base = _base_type(type_name)
    pointers = type_name.count("*")
    if base not in _known_types(header):
        problems.append(f"{where}: type '{type_name}': use fixed-width integers, size_t, "
                        "pointers and the types of the header")
    elif pointers == 0 and base in header.structs:
        problems.append(f"{where}: '{type_name}' by value")
    elif pointers == 0 and base in header.handles:
        problems.append(f"{where}: the handle '{type_name}' without '*'")
    elif pointers == 0 and base in ("void", "char") and not (result and base == "void"):
        problems.append(f"{where}: '{type_name}' by value")
    elif base in header.handles and type_name.startswith("const"):
        problems.append(f"{where}: handles are not const")


def _verb(function):
    parts = function.name.split("_")
    return parts[2] if len(parts) > 2 else ""


def _lint_ownership(header, function, problems):
    base = _base_type(function.result)
    verb = _verb(function)
    where = function.name
    if base in header.handles:
        if verb not in OWNED_VERBS + BORROWED_VERBS:
            problems.append(f"{where}: returns a handle under the verb '{verb}'; one of "
                            f"{' '.join(OWNED_VERBS + BORROWED_VERBS)} says who owns it")
        if verb in OWNED_VERBS and not function.can_fail:
            problems.append(f"{where}: makes a handle and has no qioh_error")
    if verb == "unref" and (function.result != "void" or len(function.parameters) != 1):
        problems.append(f"{where}: unref takes a handle, returns nothing and cannot fail")
    for parameter in function.parameters:
        if _base_type(parameter.type) == "void" and parameter.name in (
                "handle", "channel", "loop", "watch", "fds", "listener", "options", "task"):
            problems.append(f"{where}: a token is never a 'void *'")


def _lint_callbacks(header, function, problems):
    types = [parameter.type for parameter in function.parameters]
    for index, type_name in enumerate(types):
        if type_name in header.callbacks and type_name != "qioh_release_fn":
            if types[index + 1:index + 3] != ["void *", "qioh_release_fn"]:
                problems.append(f"{function.name}: a callback is (fn, user_data, release)")


def lint(header, text):
    """The problems of a header that parses, as texts."""
    problems = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > 100:
            problems.append(f"line {number}: longer than 100 characters")
        if "//" in line:
            problems.append(f"line {number}: a // comment; C90 parsers refuse it")
    for name, (result, parameters) in header.callbacks.items():
        _lint_type(header, result, name, problems, result=True)
        if len(parameters) > 6:
            problems.append(f"{name}: more than 6 arguments")
        for parameter in parameters:
            _lint_type(header, parameter.type, f"{name}, {parameter.name}", problems)
        types = [p.type for p in parameters]
        if "." in name and types != ["void *"] and [types[0], types[-1]] != [
                "void *", "qioh_error *"]:
            problems.append(f"{name}: is (void *user_data, ..., qioh_error *error)")
        # What returns nothing has no way to fail, either.
        tail = ["void *"] if result == "void" else ["void *", "qioh_error *"]
        if "." not in name and types[-len(tail):] != tail:
            problems.append(f"{name}: ends in (void *user_data, qioh_error *error); in user_data "
                            "where it returns nothing")
    for name, members in header.structs.items():
        for type_name, member, _ in members:
            if type_name != "char":
                _lint_type(header, type_name, f"{name}.{member}", problems)
        if name != "qioh_iovec" and members[0][:2] != ("uint32_t", "struct_size"):
            problems.append(f"{name}: the first member is uint32_t struct_size")
    seen = set()
    for function in header.functions:
        if not re.match(r"qioh_[a-z]+(_[a-z0-9]+)+$", function.name):
            problems.append(f"{function.name}: not qioh_noun_verb")
        if function.name in seen:
            problems.append(f"{function.name}: declared twice")
        seen.add(function.name)
        _lint_type(header, function.result, function.name, problems, result=True)
        for parameter in function.parameters:
            _lint_type(header, parameter.type, f"{function.name}, {parameter.name}", problems)
        names = [parameter.name for parameter in function.parameters]
        if len(set(names)) != len(names):
            problems.append(f"{function.name}: two parameters of one name")
        if any(p.type == "qioh_error *" and p.name != "out" for p in function.parameters[:-1]):
            problems.append(f"{function.name}: the error is the last argument")
        if not function.comment:
            problems.append(f"{function.name}: no comment says what it does")
        if not function.thread:
            problems.append(f"{function.name}: no thread class: [any thread] or another of "
                            f"{', '.join(THREAD_CLASSES)}")
        _lint_ownership(header, function, problems)
        _lint_callbacks(header, function, problems)
    return problems


# ---- what is exported ----

def public_headers():
    """Those that <qio/qio.h> and the bridge lead to, by base name."""
    by_name = {path.name: path for path in sorted((ROOT / "core").rglob("*.h"))
               if "include" not in path.relative_to(ROOT / "core").parts}
    found = {}
    todo = ["qio.h", "qioh-glib.h", "qemu-names.h"]
    while todo:
        name = todo.pop()
        if name in found or name not in by_name:
            continue
        found[name] = by_name[name]
        todo += re.findall(r"#include <qio/([\w-]+\.h)>", found[name].read_text(encoding="utf-8"))
    return found


def _strip(text):
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"\\\n", " ", text)
    text = re.sub(r"^\s*#.*$", " ", text, flags=re.M)
    text = re.sub(r"G_(BEGIN|END)_DECLS", " ", text)
    # bodies of structs and enums hold no exported names
    while re.search(r"\{[^{}]*\}", text):
        text = re.sub(r"\{[^{}]*\}", " ", text)
    return text


def exported_names(paths):
    """qio_ functions and variables that headers declare."""
    names = set()
    for path in paths:
        for statement in _strip(path.read_text(encoding="utf-8")).split(";"):
            statement = " ".join(statement.split())
            if statement.startswith(("typedef", "static", "struct", "enum", "union")):
                continue
            match = re.match(r"[\w\s*]*?\b(qio_\w+) ?\(", statement)
            match = match or re.match(r"extern [\w\s*]*?\b(qio_\w+)$", statement)
            if match:
                names.add(match.group(1))
    return names


def undocumented(paths):
    """The functions and variables of headers that no '/** name: ...' comment is about."""
    names = exported_names(paths)
    for path in paths:
        for comment in re.findall(r"/\*\*.*?\*/", path.read_text(encoding="utf-8"), flags=re.S):
            about = re.match(r"/\*\*[\s*]*((?:\w+,[\s*]*)*\w+):", comment)
            if about:
                names -= set(re.findall(r"\w+", about.group(1)))
    return names


def symbol_nodes(header):
    nodes = {name: "QIO_1.0" for name in exported_names(public_headers().values())}
    nodes.update((function.name, "QIOH_1.0") for function in header.functions)
    return nodes


# ---- derived files ----

def derive_map(header):
    nodes = symbol_nodes(header)
    lines = ["/* Derived by tools/abi.py from the public headers: do not edit. */"]
    for node, parent in (("QIO_1.0", ""), ("QIOH_1.0", "QIO_1.0")):
        lines.append(f"{node} {{")
        lines.append("  global:")
        lines += [f"    {name};" for name in sorted(nodes) if nodes[name] == node]
        if not parent:
            lines += ["  local:", "    *;"]
        lines.append(f"}} {parent};" if parent else "};")
    return "\n".join(lines) + "\n"


def derive_symbols(header):
    nodes = symbol_nodes(header)
    return "".join(f"{name}@@{nodes[name]}\n" for name in sorted(nodes))


def derive_ownership(header):
    lines = ["/* Derived by tools/abi.py from core/abi/qioh-abi.h: do not edit.",
             " * Owned results by the verb of the function; *_unref gives a handle up. */"]
    for function in header.functions:
        if _base_type(function.result) in header.handles and _verb(function) in OWNED_VERBS:
            lines.append(f"%newobject {function.name};")
        elif _verb(function) == "unref":
            lines.append(f"%delobject {function.name};")
    return "\n".join(lines) + "\n"


def _declaration(function):
    def spell(type_name, name):
        return f"{type_name}{'' if type_name.endswith('*') else ' '}{name}"
    parameters = ", ".join(spell(p.type, p.name) for p in function.parameters) or "void"
    return f"{spell(function.result, function.name)}({parameters});"


def _sentence(text, stop=""):
    name = "_" in re.match(r"\w*", text).group()
    return (text[0] if name else text[0].upper()) + text[1:] + ("" if text.endswith(".") else stop)


def derive_reference(header):
    lines = ["<!-- Derived by tools/abi.py from core/abi/qioh-abi.h: do not edit. -->",
             "# Reference of the flat ABI", "",
             "The contract in prose, with the reasons, is in [abi.md](abi.md). "
             "Results are >= 0 when good and one of `QIOH_E_*` otherwise; a function with a last "
             "argument `error` fills it on failure, and leaves it alone on success and on "
             "`QIOH_E_AGAIN`.", "", "Thread classes:", ""]
    lines += [f"- **{name}**: {text}" for name, text in THREAD_CLASSES.items()]
    section = None
    for function in header.functions:
        if function.section != section:
            section = function.section
            lines += ["", f"## {_sentence(section)}"]
            if header.sections[section]:
                lines += ["", _sentence(header.sections[section], ".")]
        lines += ["", f"### `{function.name}`", "", "```c", _declaration(function), "```", ""]
        comment = function.comment
        if comment:
            lines.append(_sentence(comment, "."))
        notes = []
        if _base_type(function.result) in header.handles:
            notes.append("the result is owned by the caller" if _verb(function) in OWNED_VERBS
                         else "the result is borrowed")
        if _verb(function) == "unref":
            notes.append("gives the handle up; never fails, never waits")
        notes.append(f"thread class: {function.thread}")
        lines += ["" if comment else None, f"*{'; '.join(notes)}.*"]
    return "\n".join(line for line in lines if line is not None) + "\n"


DERIVED = {
    "core/abi/libqio.map": derive_map,
    "core/abi/symbols.txt": derive_symbols,
    "bindings/ownership.i": derive_ownership,
    "docs/abi-reference.md": derive_reference,
}


# ---- commands ----

def check(header):
    problems = lint(header, HEADER.read_text(encoding="utf-8"))
    problems += [f"{name}: no comment '/** {name}: ...' says what it does"
                 for name in sorted(undocumented(public_headers().values()))]
    for name, derive in DERIVED.items():
        path = ROOT / name
        if not path.exists() or path.read_text(encoding="utf-8") != derive(header):
            problems.append(f"{name} is stale: run tools/abi.py --write")
    return problems


def check_symbols(library):
    """Both ways: what the library exports against the committed list."""
    output = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library],
                            check=True, capture_output=True, text=True).stdout
    exported = {line.split()[2] for line in output.splitlines() if line.split()[1] != "A"}
    committed = set((ROOT / "core/abi/symbols.txt").read_text(encoding="utf-8").split())
    return ([f"{name} is in symbols.txt and not exported" for name in sorted(committed - exported)] +
            [f"{name} is exported and not in symbols.txt" for name in sorted(exported - committed)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    action.add_argument("--symbols", metavar="LIBRARY")
    action.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        header = parse()
    except HeaderError as error:
        print(f"{HEADER.relative_to(ROOT)}: {error}", file=sys.stderr)
        return 1
    problems = []
    if options.write:
        for name, derive in DERIVED.items():
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(derive(header), encoding="utf-8")
    elif options.check:
        problems = check(header)
    elif options.symbols:
        problems = check_symbols(options.symbols)
    else:
        json.dump(dataclasses.asdict(header), sys.stdout, indent=1)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
