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
from typing import NamedTuple

from airflow_kart.identity.code.module import (
    CHANGES_ITS_ARGUMENT,
    CHANGES_ITS_OBJECT,
    DEFINITIONS,
    Module,
    changed_names,
    flatten,
)
from airflow_kart.identity.code.references import bound_names
from airflow_kart.identity.notebook import Notebook, Statement, as_python, cells, this_notebook

_PYTHON_MAGICS = frozenset({"capture", "prun", "time"})
"""Cell magics that execute their cell as Python code in the session."""
_PARTS_OF_RESET = frozenset({"array", "dhist", "in", "out"})
"""What ``%reset`` empties in place of the names."""


class _Executed(NamedTuple):
    source: str
    names: frozenset[str]
    """The names that the statement binds or changes."""
    replaced: frozenset[str]
    """The names that keep nothing of earlier statements."""
    resets: bool = False
    """Whether the statement removes all names: ``%reset``."""


def module_of_cells() -> Module | None:
    """Return the module that this session's cells make up, ``None`` where nothing keeps the cells.

    The module is the same object while nothing was executed that counts.
    """
    statements = _statements()
    return None if statements is None else _parsed(statements)


def text_of(cls: type) -> str | None:
    """Return the text of a class's definition, ``None`` for a class that no cell of this session defines."""
    statements = _statements() if cls.__module__ == "__main__" and this_notebook() is not None else None
    return None if statements is None else _class_texts(statements).get(cls.__qualname__.partition(".")[0])


def for_workers() -> Notebook | None:
    """Return this session with the statements that count, for processes that run its tasks."""
    notebook = this_notebook()
    return None if notebook is None else notebook._replace(statements=_statements())


def _statements() -> tuple[Statement, ...] | None:
    notebook = this_notebook()
    if notebook is not None and notebook.statements is not None:
        return notebook.statements
    executed = cells()
    if executed is None:
        return None
    counted: list[Statement] = []
    seen: set[str] = set()
    replaced: set[str] = set()
    for failed, found in [(cell.failed, one) for cell in executed for one in _executed(cell.source)][::-1]:
        if found.resets:
            break
        if found.source in seen:
            continue
        seen.add(found.source)
        if not found.names <= replaced:
            counted.append(Statement(found.source, found.names & replaced))
        if not failed:
            replaced |= found.replaced
    return tuple(reversed(counted))


@functools.lru_cache(maxsize=4)
def _parsed(statements: tuple[Statement, ...]) -> Module:
    return Module("\n".join(one.source for one in statements).encode(), [one.gone for one in statements])


@functools.lru_cache(maxsize=4)
def _class_texts(statements: tuple[Statement, ...]) -> dict[str, str]:
    nodes = (ast.parse(source).body[0] for source, _ in statements)
    return {node.name: ast.unparse(node) for node in nodes if isinstance(node, ast.ClassDef)}


@functools.lru_cache(maxsize=8192)
def _executed(cell: str) -> tuple[_Executed, ...]:
    """Return the statements of a cell; none for a cell that is not Python, which was never executed."""
    try:
        return tuple(_read(ast.parse(cell)))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def _read(tree: ast.Module) -> Iterator[_Executed]:
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            name, line, body = _magic(statement.value)
            if name == "reset" and not _PARTS_OF_RESET.intersection(line.split()):
                yield _Executed("", frozenset(), frozenset(), resets=True)
            if name in _PYTHON_MAGICS:
                yield from _executed(as_python(body))
            if not _changes_for_certain(statement.value):
                continue
        yield _described(statement)


def _described(statement: ast.stmt) -> _Executed:
    names = bound_names([statement])
    inside = list(flatten([statement], ()))
    for_certain = not any(heads for heads, _ in inside) or isinstance(statement, (ast.With, ast.AsyncWith))
    replaced = names - _read_at_once(statement) - {"*"} if for_certain else ()
    names.update(*(node.names for node in ast.walk(statement) if isinstance(node, ast.Global)))
    names.update(*(changed for _, inner in inside if inner is not None for changed in changed_names(inner)))
    return _Executed(ast.unparse(statement), frozenset(names), frozenset(replaced))


def _read_at_once(statement: ast.stmt) -> set[str]:
    """Return the names that a statement reads while it is executed; a function's body is executed later."""
    nodes: list[ast.AST] = [statement]
    if isinstance(statement, DEFINITIONS):
        nodes = [part for _, part in ast.iter_fields(statement) if isinstance(part, ast.AST)]
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


def _magic(call: ast.Call) -> tuple[str, str, str]:
    """Return name, line and body of a magic, from IPython's call; empty texts for other calls."""
    given = [str(argument.value) for argument in call.args if isinstance(argument, ast.Constant)]
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("run_line_magic", "run_cell_magic") and len(given) >= 2:
        return given[0], given[1], "".join(given[2:])
    return "", "", ""
