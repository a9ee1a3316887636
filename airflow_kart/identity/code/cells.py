"""The cells of a session as the source of one module: each name as its last definition left it.

A cell is executed again and again, in any order, edited in between. So of all statements that were ever executed, those
count that made the present names: a definition replaces the earlier ones, equal statements count once, and the order
of the cells does not matter, except among statements about one name. A definition that may have kept something of an
earlier one (``if``, ``COLUMNS = COLUMNS + ["x"]``, a cell that failed) replaces nothing, and both count.

A bare call (``train.describe()``, ``print(COLUMNS)``) shows something, and counts only if its method changes objects
for certain: ``COLUMNS.append("x")``.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from airflow_kart.identity.code.module import (
    CHANGES_ITS_ARGUMENT,
    CHANGES_ITS_OBJECT,
    DEFINITIONS,
    Module,
    changed_names,
    flatten,
)
from airflow_kart.identity.code.references import bound_names
from airflow_kart.identity.notebook import Notebook, as_python, cells, this_notebook

_PYTHON_MAGICS = frozenset({"capture", "prun", "time"})
"""Cell magics that execute their cell as Python code in the session."""


@dataclass(frozen=True)
class _Statement:
    source: str
    names: frozenset[str]
    """The names that the statement binds or changes."""
    replaced: frozenset[str]
    """The names that keep nothing of earlier statements."""


def source_of_cells() -> bytes | None:
    """Return the source that this session's cells make up; ``None`` where nothing keeps the cells."""
    notebook = this_notebook()
    if notebook is not None and notebook.source is not None:
        return notebook.source
    executed = cells()
    if executed is None:
        return None
    counted: dict[str, None] = {}
    seen: set[str] = set()
    replaced: set[str] = set()
    for cell in reversed(executed):
        for statement in reversed(_statements(cell.source)):
            if statement.source in seen:
                continue
            seen.add(statement.source)
            if not statement.names <= replaced:
                counted[statement.source] = None
            if not cell.failed:
                replaced |= statement.replaced
    return "\n".join(reversed(counted)).encode()


def module_of_cells() -> Module | None:
    """Return the module that this session's cells make up: the same object while nothing was executed that counts."""
    source = source_of_cells()
    return None if source is None else _parsed(source)


def text_of(cls: type) -> str | None:
    """Return the text of a class's definition, ``None`` for a class that no cell of this session defines."""
    source = source_of_cells() if cls.__module__ == "__main__" and this_notebook() is not None else None
    return None if source is None else _class_texts(source).get(cls.__qualname__.partition(".")[0])


@functools.lru_cache(maxsize=4)
def _class_texts(source: bytes) -> dict[str, str]:
    return {node.name: ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def for_workers() -> Notebook | None:
    """Return this session with its source, for processes that run its tasks."""
    notebook = this_notebook()
    return None if notebook is None else replace(notebook, source=source_of_cells())


@functools.lru_cache(maxsize=4)
def _parsed(source: bytes) -> Module:
    return Module(source)


@functools.lru_cache(maxsize=8192)
def _statements(cell: str) -> tuple[_Statement, ...]:
    """Return the statements of a cell; none for a cell that is not Python, which was never executed."""
    try:
        return tuple(_read(ast.parse(cell)))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def _read(tree: ast.Module) -> Iterator[_Statement]:
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield from _statements(as_python(_body_of_magic(statement.value)))
            if not _changes_for_certain(statement.value):
                continue
        names = bound_names([statement])
        if not isinstance(statement, (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)):
            replaced = names - _read_at_once(statement) - {"*"}
        else:
            replaced = set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Global):
                names.update(node.names)
        for _, inner in flatten([statement], ()):
            if inner is not None:
                names.update(*changed_names(inner))
        yield _Statement(ast.unparse(statement), frozenset(names), frozenset(replaced))


def _read_at_once(statement: ast.stmt) -> set[str]:
    """Return the names that a statement reads while it is executed; a function's body is executed later."""
    nodes: list[ast.AST] = [statement]
    if isinstance(statement, DEFINITIONS):
        nodes = [part for name, part in ast.iter_fields(statement) if isinstance(part, ast.AST)]
        nodes += statement.decorator_list
        nodes += [*statement.bases, *statement.keywords] if isinstance(statement, ast.ClassDef) else []
    elif isinstance(statement, ast.AugAssign):
        nodes = [statement, *(ast.Name(name, ast.Load()) for name in bound_names([statement]))]
    return {
        node.id for part in nodes for node in ast.walk(part) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def _changes_for_certain(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in CHANGES_ITS_OBJECT
    return isinstance(call.func, ast.Name) and call.func.id in CHANGES_ITS_ARGUMENT


def _body_of_magic(call: ast.Call) -> str:
    """Return the body of a cell magic that executes Python code, from IPython's call; an empty text for other calls."""
    given = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
    if isinstance(call.func, ast.Attribute) and call.func.attr == "run_cell_magic" and len(given) == 3:
        name, _, body = given
        if name in _PYTHON_MAGICS and isinstance(body, str):
            return body
    return ""
