"""The names of its module and the imports that a piece of code uses, by Python's rules of scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from airflow_kart.identity.code.canonical import class_annotation, counts, keeps_annotations

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Import(NamedTuple):
    """The object to which an import statement binds a name."""

    level: int
    """The number of leading dots; 0 for an absolute import."""
    module: str
    name: str | None
    """The imported name of the module; ``None`` for the module itself."""


class Reference(NamedTuple):
    """One use of a name that the code does not bind itself."""

    source: str | Import
    """A name of the module, or an import inside the code."""
    attributes: tuple[str, ...] = ()
    """The attributes after the name: ``("options", "depth")`` for ``settings.options.depth``."""
    as_upstream: bool = False
    """Whether the use is in ``requires()`` or directly in a class's body, where a task class is an upstream."""


class _Scope(NamedTuple):
    """The names bound by one function, comprehension or class body."""

    names: Mapping[str, tuple[Import, ...]]
    """The names, with the imports that bind them."""
    of_class: bool = False
    global_names: frozenset[str] = frozenset()


class _Position(NamedTuple):
    scopes: tuple[_Scope, ...] = ()
    in_class: bool = False
    as_upstream: bool = False

    def inside(self, scope: _Scope) -> _Position:
        return _Position((*self.scopes, scope), scope.of_class, self.as_upstream)


_Pending: TypeAlias = "list[tuple[ast.AST, _Position]]"


def references_of(*nodes: ast.AST) -> frozenset[Reference]:
    """Return the free names and the own imports of code at the top level of a module."""
    found: set[Reference] = set()
    pending: _Pending = [(node, _Position()) for node in nodes]
    while pending:
        node, place = pending.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            root, attributes = root_and_attributes(node)
            if isinstance(root, ast.Name):
                if isinstance(root.ctx, ast.Load):
                    found.update(_look_up(root.id, attributes, place))
            else:
                pending.append((root, place))
        elif isinstance(node, ast.Global):
            found.update(Reference(name) for name in node.names)
        else:
            pending += _parts(node, place)
    return frozenset(found)


def root_and_attributes(node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """Return the first expression of a chain of attributes, and the attributes in order."""
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return node, tuple(reversed(attributes))


def _look_up(name: str, attributes: tuple[str, ...], place: _Position) -> Iterator[Reference]:
    for depth, scope in enumerate(reversed(place.scopes)):
        if name in scope.global_names:
            break
        if name not in scope.names or (scope.of_class and depth > 0):
            continue
        yield from (Reference(found, attributes, place.as_upstream) for found in scope.names[name])
        if not scope.of_class:  # a class's body may use a name of the module before it binds it
            return
    yield Reference(name, attributes, place.as_upstream)


def _parts(node: ast.AST, place: _Position) -> _Pending:
    """Return the parts of a node that can use names, each with its place."""
    if isinstance(node, _FUNCTIONS):
        return _function(node, place)
    if isinstance(node, ast.Lambda):
        inner = place.inside(_Scope(dict.fromkeys(_arguments(node.args), ())))
        return [*((default, place) for default in _defaults(node.args)), (node.body, inner)]
    if isinstance(node, ast.ClassDef):
        inner = _Position((*place.scopes, _scope(node.body, of_class=True)), in_class=True, as_upstream=True)
        outside = [*node.decorator_list, *node.bases, *node.keywords]
        return [*((part, place) for part in outside), *((part, inner) for part in node.body if counts(part, in_class=True))]
    if isinstance(node, _COMPREHENSIONS):
        return _comprehension(node, place)
    if isinstance(node, ast.AnnAssign):
        annotation = [(class_annotation(node.annotation), place)] if place.in_class else []
        return [*annotation, *((part, place) for part in (node.target, node.value) if part is not None)]
    return [(child, place) for child in ast.iter_child_nodes(node)]


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, place: _Position) -> _Pending:
    body = _scope(node.body, _arguments(node.args))
    inner = _Position(
        (*place.scopes, body), as_upstream=place.as_upstream and (not place.in_class or node.name == "requires")
    )
    outside: list[ast.AST] = [*node.decorator_list, *_defaults(node.args)]
    if keeps_annotations(node):
        annotations = [argument.annotation for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
        outside += [class_annotation(found) for found in [*annotations, node.returns] if found is not None]
    return [*((part, place) for part in outside), *((part, inner) for part in node.body)]


def _comprehension(node: ast.AST, place: _Position) -> _Pending:
    generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]  # every comprehension has them
    inner = place.inside(_Scope(dict.fromkeys(bound_names([part.target for part in generators]), ())))
    rest = [child for child in ast.iter_child_nodes(node) if child is not generators[0]]
    first = generators[0]
    return [(first.iter, place), *((part, inner) for part in [*rest, *first.ifs])]


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [default for default in [*arguments.defaults, *arguments.kw_defaults] if default is not None]


def _arguments(arguments: ast.arguments) -> list[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return [argument.arg for argument in every if argument is not None]


def _scope(body: Iterable[ast.stmt], arguments: Iterable[str] = (), of_class: bool = False) -> _Scope:
    body = list(body)
    names: dict[str, tuple[Import, ...]] = dict.fromkeys([*arguments, *bound_names(body)], ())
    outer: set[str] = set()
    global_names: set[str] = set()
    for node in _walk_scope(body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name, target in imports_of(node):
                names[name] = (*names.get(name, ()), target)
        elif isinstance(node, ast.Global):
            global_names.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            outer.update(node.names)
    return _Scope({name: found for name, found in names.items() if name not in outer}, of_class, frozenset(global_names))


def imports_of(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    """Return the names that an import statement binds, each with its import; ``*`` for ``import *``."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, Import(node.level, node.module or "", alias.name)
        elif alias.asname:
            yield alias.asname, Import(0, alias.name, None)
        else:
            top = alias.name.partition(".")[0]
            yield top, Import(0, top, None)


def bound_names(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the names that code binds in its own scope, without the scopes of inner functions and classes."""
    names: set[str] = set()
    for node in _walk_scope(nodes):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                names.add(node.id)
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(name for name, _ in imports_of(node))
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
    return names


def _walk_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Return the nodes of one scope; of inner scopes only the heads, and the names that ``:=`` binds outside."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, _COMPREHENSIONS):
            pending += [child.target for child in ast.walk(node) if isinstance(child, ast.NamedExpr)]
        elif isinstance(node, _FUNCTIONS):
            pending += [*node.decorator_list, *_defaults(node.args)]
        elif isinstance(node, ast.ClassDef):
            pending += [*node.decorator_list, *node.bases, *node.keywords]
        elif isinstance(node, ast.Lambda):
            pending += _defaults(node.args)
        else:
            pending += ast.iter_child_nodes(node)
