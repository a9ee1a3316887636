"""A canonical form of Python code: the syntax tree, without the parts that change nothing.

Comments and layout never reach the parser. The form also leaves out docstrings and other strings that stand alone,
``pass``, line numbers, type comments, type parameters, the annotations of variables and functions (unless a decorator
may read them), and a class's ``operator_kwargs``. The annotations in a class's body stay, as dataclasses read them.
The form is the same in every Python from 3.10 on. Golden digests in the tests pin the form.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_OPEN, _CLOSE = "(", ")"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SKIPPED = frozenset({"annotation", "ctx", "kind", "returns", "simple", "type_comment", "type_ignores", "type_params"})
_PLAIN_DECORATORS = frozenset({"staticmethod", "classmethod", "property"})
_BODIES = frozenset({"body", "orelse", "finalbody"})
_ABOUT_OPERATORS = "operator_kwargs"


def canonical(*nodes: ast.AST) -> bytes:
    """Return the canonical form of pieces of code, one after the other.

    The loop does not recurse: generated code nests deeper than Python's stack.
    """
    written: list[str] = []
    pending: list[object] = [_OPEN, *nodes, _CLOSE][::-1]
    while pending:
        item = pending.pop()
        if isinstance(item, ast.AnnAssign) and item.value is not None:  # the annotation is not what is assigned
            item = ast.Assign([item.target], item.value)
        if isinstance(item, str):
            written.append(item)
        elif isinstance(item, ast.AST):
            pending += [_CLOSE, *reversed(list(_parts(item))), type(item).__name__ + _OPEN]
    return "".join(written).encode("utf-8", "surrogatepass")


def counts(statement: ast.stmt, in_class: bool = False) -> bool:
    """Whether a statement does anything: strings, ``...`` and ``pass`` do not, nor does declaring a variable's type.

    Args:
        statement: a statement of a body.
        in_class: whether that is a class's body, where an annotation by itself declares a field.
    """
    if isinstance(statement, ast.AnnAssign):
        return (in_class or statement.value is not None) and not _is_about_operators(statement.target, in_class)
    if isinstance(statement, ast.Assign):
        return not (len(statement.targets) == 1 and _is_about_operators(statement.targets[0], in_class))
    return not isinstance(statement, ast.Pass) and not (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _is_about_operators(target: ast.expr, in_class: bool) -> bool:
    """Whether a statement in a class sets ``operator_kwargs``: retries and pools do not change the output."""
    return in_class and isinstance(target, ast.Name) and target.id == _ABOUT_OPERATORS


def keeps_annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a decorator may read the function's annotations."""
    return any(
        not (isinstance(decorator, ast.Name) and decorator.id in _PLAIN_DECORATORS) for decorator in function.decorator_list
    )


def class_annotation(annotation: ast.expr) -> ast.expr:
    """Return an annotation without its quotes."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            return annotation
    return annotation


def _parts(node: ast.AST) -> Iterator[object]:
    """Return the parts of a node's form: nodes, and text in brackets or with its length in front."""
    if isinstance(node, ast.Constant):
        yield _constant(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield from _joined(node.values)
    else:
        if isinstance(node, _FUNCTIONS) and keeps_annotations(node):
            yield from _annotations(node)
        for name, value in ast.iter_fields(node):
            yield from _field(node, name, value)


def _field(node: ast.AST, name: str, value: object) -> Iterator[object]:
    if value is None and isinstance(node, ast.MatchSingleton):  # the pattern None
        yield f"{name}=N"
    elif value is None or name in _SKIPPED:
        return
    elif isinstance(value, list):
        kept = list(_statements(value, isinstance(node, ast.ClassDef)) if name in _BODIES else value)
        if kept:
            yield f"{name}=["
            for item in kept:  # None stands for ** in a dict, and for no default
                yield item if isinstance(item, ast.AST) else "~" if item is None else _constant(item)
            yield "]"
    else:
        yield f"{name}="
        yield value if isinstance(value, ast.AST) else _constant(value)


def _statements(body: Iterable[ast.AST], in_class: bool) -> Iterator[ast.AST]:
    for statement in body:
        if not isinstance(statement, ast.stmt):
            yield statement
        elif counts(statement, in_class):
            if in_class and isinstance(statement, ast.AnnAssign):
                yield ast.Tuple([class_annotation(statement.annotation)])
            yield statement


def _annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[object]:
    arguments = function.args
    for argument in [
        *arguments.posonlyargs,
        *arguments.args,
        *filter(None, [arguments.vararg]),
        *arguments.kwonlyargs,
        *filter(None, [arguments.kwarg]),
    ]:
        if argument.annotation is not None:
            yield from (":", _constant(argument.arg), class_annotation(argument.annotation))
    if function.returns is not None:
        yield from ("->", class_annotation(function.returns))


def _joined(values: Iterable[ast.expr]) -> Iterator[object]:
    """Return the parts of an f-string with adjacent text merged, as Python's versions split the text differently."""
    text = ""
    for value in values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield _constant(text)
        text = ""
        yield value
    if text:
        yield _constant(text)


def _constant(value: object) -> str:
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"i{value:x};"  # Python limits the digits of decimals
    return f"{type(value).__name__}:{value!r};"  # a float's repr reads back as itself, and so do bytes and complex
