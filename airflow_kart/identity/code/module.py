"""One source file, parsed but not run: the statements that define, and the statements that change, each name of the module."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from airflow_kart.identity.code.canonical import canonical, counts
from airflow_kart.identity.code.references import (
    Import,
    Reference,
    bound_names,
    imports_of,
    references_of,
    root_and_attributes,
)

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
CHANGES_ITS_ARGUMENT = frozenset({"setattr", "delattr"})
CHANGES_ITS_OBJECT = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft"}
    | {"remove", "reverse", "rotate", "setdefault", "sort", "update"}
)


class Definition(NamedTuple):
    """All statements of a module about one name."""

    code: tuple[bytes, ...]
    """The canonical forms of the statements that define or change the name, in order; empty for a plain import."""
    references: frozenset[Reference]
    """The names and imports that these statements use."""
    imports: tuple[Import, ...]
    """The imports that bind the name."""
    only_changes: bool
    """Whether the module imports the name, and its statements only change the imported object."""
    bases: frozenset[Reference]
    """The base classes of a class."""
    members: tuple[tuple[str, tuple[bytes, ...]], ...] = ()
    """The methods and attributes of a class, each with the canonical forms of the statements that define the name."""


@dataclass
class _Binding:
    """One name, while the module collects its statements."""

    statements: list[tuple[tuple[ast.AST, ...], ast.stmt | None]] = field(default_factory=list)
    """Each statement with the heads of its enclosing blocks; ``None`` where a head itself binds the name."""
    imports: list[Import] = field(default_factory=list)
    bound: bool = False
    """Whether one of the statements binds the name."""
    assigned: bool = False
    """Whether a call can change the object: the name is bound to neither a function, a class nor an import."""


class Module:
    """The definitions of one file, each made on first use.

    Args:
        source: the file's bytes.
        gone: for each top-level statement the names whose objects later statements have replaced; by default none.

    Raises:
        SyntaxError: the bytes are not Python of this version.
        ValueError: the bytes contain null bytes.
    """

    def __init__(self, source: bytes, gone: Iterable[frozenset[str]] = ()) -> None:
        self._found: dict[str, _Binding] = {}
        self._made: dict[str, Definition] = {}
        self.star_imports: list[Import] = []
        body = ast.parse(source).body
        statements = [(*found, without) for one, without in zip_longest(body, gone) for found in flatten([one], ())]
        for heads, statement, without in statements:
            self._bind(heads, statement, without or frozenset())
        for heads, statement, without in statements:
            if statement is not None:
                self._change(heads, statement, without or frozenset())

    @property
    def names(self) -> Iterable[str]:
        """Every name the module binds."""
        return self._found.keys()

    def definition(self, name: str) -> Definition | None:
        """Return the definition of a name, or ``None`` where the module does not bind the name."""
        if name not in self._made:
            if name not in self._found:
                return None
            self._made[name] = _define(self._found[name])
        return self._made[name]

    def _bind(self, heads: tuple[ast.AST, ...], statement: ast.stmt | None, without: frozenset[str]) -> None:
        if isinstance(statement, _IMPORTS):
            for name, target in [found for found in imports_of(statement) if found[0] not in without]:
                if name == "*":
                    self.star_imports.append(target)
                    continue
                found = self._found.setdefault(name, _Binding())
                found.imports.append(target)
                if heads:  # one of several ways to get it: then the choice counts
                    found.bound = True
                    found.statements.append((heads, statement))
            return
        for name in sorted(bound_names([statement] if statement is not None else heads[-1:]) - without):
            found = self._found.setdefault(name, _Binding())
            found.statements.append((heads, statement))
            found.bound = True
            found.assigned |= not isinstance(statement, DEFINITIONS)
        if isinstance(statement, DEFINITIONS):
            for name in [name for inner in ast.walk(statement) if isinstance(inner, ast.Global) for name in inner.names]:
                if name not in without:
                    found = self._found.setdefault(name, _Binding(bound=True, assigned=True))
                    found.statements.append((heads, statement))

    def _change(self, heads: tuple[ast.AST, ...], statement: ast.stmt, without: frozenset[str]) -> None:
        always, if_assigned = changed_names(statement)
        for name in sorted((always | if_assigned) - without):
            found = self._found.get(name)
            if found is None or (name not in always and not found.assigned):
                continue
            if found.imports and isinstance(statement, DEFINITIONS):  # a decorator of another module
                continue
            if (heads, statement) not in found.statements:
                found.statements.append((heads, statement))


def _define(found: _Binding) -> Definition:
    code: list[bytes] = []
    references: set[Reference] = set()
    bases: set[Reference] = set()
    members: dict[str, tuple[bytes, ...]] = {}
    for heads, statement in sorted(found.statements, key=_position):
        code.append(canonical(*heads, *([] if statement is None else [statement])))
        references |= references_of(*heads, *([] if statement is None else [statement]))
        if isinstance(statement, ast.ClassDef):
            bases |= references_of(*(base.value if isinstance(base, ast.Subscript) else base for base in statement.bases))
            for inner in (inner for inner in statement.body if counts(inner, in_class=True)):
                for name in bound_names([inner]):
                    members[name] = (*members.get(name, ()), canonical(inner))
    imports = tuple(found.imports)
    return Definition(
        tuple(code), frozenset(references), imports, not found.bound, frozenset(bases), tuple(sorted(members.items()))
    )


def _position(item: tuple[tuple[ast.AST, ...], ast.stmt | None]) -> tuple[int, int]:
    heads, statement = item
    node: ast.stmt | ast.expr = statement if statement is not None else heads[-1]  # type: ignore[assignment]  # heads are both
    return node.lineno, node.col_offset


def flatten(body: Iterable[ast.stmt], heads: tuple[ast.AST, ...]) -> Iterator[tuple[tuple[ast.AST, ...], ast.stmt | None]]:
    """Return the statements of a module, each with the heads of its enclosing blocks: every branch counts.

    Each head follows by itself, with ``None`` for the statement, as a head may bind names: ``for name in names``.
    """
    for statement in body:
        blocks = list(_blocks(statement))
        if not blocks:
            if counts(statement):
                yield heads, statement
            continue
        for head, inner in blocks:
            yield (*heads, head), None
            yield from flatten(inner, (*heads, head))


def _blocks(statement: ast.stmt) -> Iterator[tuple[ast.AST, list[ast.stmt]]]:
    """Return the blocks of a compound statement, each with an expression of its head."""
    if isinstance(statement, DEFINITIONS):
        return
    for name, value in ast.iter_fields(statement):
        if name in ("body", "orelse", "finalbody") and value:
            yield _head(statement, name), value
        elif name in ("handlers", "cases"):
            for number, part in enumerate(value):
                yield _head(statement, f"{name} {number}", part), part.body


def _head(statement: ast.stmt, branch: str, part: ast.AST | None = None) -> ast.AST:
    """Return an expression of everything that decides whether, and on which values, a branch runs."""
    kept: list[ast.expr] = [ast.Constant(f"{type(statement).__name__} {branch}")]
    for owner in (statement, part):
        for _, value in ast.iter_fields(owner) if owner is not None else ():
            kept += _without_bodies(value)
    place = statement if part is None or isinstance(part, ast.match_case) else part  # a case has no line of its own
    return ast.copy_location(ast.Tuple(kept), place)


def _without_bodies(value: object) -> Iterator[ast.expr]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, ast.AST) and not isinstance(item, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield item  # type: ignore[misc]  # a with's item or a case's pattern is no expression, and is only read
        elif isinstance(item, str):
            yield ast.Name(item, ast.Store())  # except ... as name


def changed_names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Return the names whose objects a statement changes: first for certain, then only if a call can change the object."""
    if isinstance(statement, DEFINITIONS):
        decorators = [part.func if isinstance(part, ast.Call) else part for part in statement.decorator_list]
        # @clean.register changes clean, @cached changes nothing.
        return {_root(part) for part in decorators if isinstance(part, ast.Attribute)} - {""}, set()
    always: set[str] = set()
    if_assigned: set[str] = set()
    stores = [node for node in ast.walk(statement) if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del))]
    always.update(_root(node) for node in stores if isinstance(node, (ast.Attribute, ast.Subscript)))
    for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
        method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if isinstance(statement, ast.Expr):
            if method:
                always.add(_root(call.func))
            given = [_root(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]]
            if_assigned.update(given)
            if isinstance(call.func, ast.Name) and call.func.id in CHANGES_ITS_ARGUMENT:
                always.update(given[:1])
        elif method in CHANGES_ITS_OBJECT:
            if_assigned.add(_root(call.func))
    return always - {""}, if_assigned - {""}


def _root(node: ast.expr) -> str:
    """Return the first name of an expression: ``table`` of ``table["x"].y.append``, or an empty text."""
    while True:
        node, _ = root_and_attributes(node)
        if isinstance(node, ast.Name):
            return node.id
        if not isinstance(node, (ast.Subscript, ast.Starred)):
            return ""
        node = node.value
