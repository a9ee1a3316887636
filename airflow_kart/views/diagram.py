"""A task's graph as the text of a diagram: Mermaid, or Graphviz's DOT.

Boxes are tasks, coloured by their state; arrows lead downstream, from a required task to the task that requires the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from airflow_kart.tasks.model import Task
from airflow_kart.views.caption import key_text, one_line, parameter_texts, short_id, state_texts
from airflow_kart.views.survey import Survey, SurveyedTask, survey

_LONGEST_LINE = 60
# Fill and border for complete and for missing tasks, with enough contrast for dark text.
_COLOURS = {True: ("#d9f2e3", "#2e8b57"), False: ("#fde3cf", "#c8641e")}
_PLAIN = frozenset(" ,=/-+")


def mermaid(task: Task, *, ignore: Collection[str] = ()) -> str:
    """Return a task and everything upstream as a Mermaid flowchart (https://mermaid.js.org).

    Args:
        task: the root.
        ignore: names of task classes, or globs, to leave out together with tasks that only these require. The root stays.

    Raises:
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    surveyed = survey(task, ignore, "mermaid")
    lines = ["flowchart LR"]
    for name, found in _named(surveyed):
        label = "<br/>".join(_mermaid_text(line) for line in _label(found))
        lines.append(f'    {name}["{label}"]:::{"complete" if found.complete else "missing"}')
    for source, consumer, key in _arrows(surveyed):
        lines.append(f'    {source} -->|"{_mermaid_text(key)}"| {consumer}' if key else f"    {source} --> {consumer}")
    for complete, (fill, border) in _COLOURS.items():
        name = "complete" if complete else "missing"
        lines.append(f"    classDef {name} fill:{fill},stroke:{border},color:#1b1b1b")
    return "\n".join(lines) + "\n"


def graphviz(task: Task, *, ignore: Collection[str] = ()) -> str:
    """Return a task and everything upstream in Graphviz's DOT language (https://graphviz.org/doc/info/lang.html).

    Args:
        task: the root.
        ignore: names of task classes, or globs, to leave out together with tasks that only these require. The root stays.

    Raises:
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    surveyed = survey(task, ignore, "graphviz")
    lines = [
        "digraph tasks {",
        "    graph [rankdir=LR];",
        '    node [shape=box, style="rounded,filled", fontname="Helvetica"];',
    ]
    lines.append('    edge [fontname="Helvetica"];')
    for name, found in _named(surveyed):
        fill, border = _COLOURS[found.complete]
        label = "\\n".join(_dot_text(line) for line in _label(found))
        lines.append(f'    {name} [label="{label}", fillcolor="{fill}", color="{border}"];')
    for source, consumer, key in _arrows(surveyed):
        lines.append(f"    {source} -> {consumer}" + (f' [label="{_dot_text(key)}"];' if key else ";"))
    return "\n".join([*lines, "}"]) + "\n"


def _names(surveyed: Survey) -> dict[str, str]:
    return {unique_id: f"n{number}" for number, unique_id in enumerate(surveyed.tasks)}


def _named(surveyed: Survey) -> Iterator[tuple[str, SurveyedTask]]:
    return zip(_names(surveyed).values(), surveyed.tasks.values(), strict=True)


def _arrows(surveyed: Survey) -> Iterator[tuple[str, str, str]]:
    """Yield each pair of tasks once, with all the keys under which one requires the other."""
    names = _names(surveyed)
    for consumer, found in surveyed.tasks.items():
        keys: dict[str, list[str]] = {}
        for path, unique_id in found.inputs:
            keys.setdefault(unique_id, []).append(key_text(path))
        for unique_id, of_one in keys.items():
            yield names[unique_id], names[consumer], _short(", ".join(of_one))


def _label(found: SurveyedTask) -> list[str]:
    task = found.node.task
    lines = [one_line(type(task).__name__), short_id(task), *parameter_texts(task, _LONGEST_LINE), *state_texts(found)]
    return [_short(line) for line in lines]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 3]}..."


def _mermaid_text(text: str) -> str:
    """Return a text for a quoted label; characters that Mermaid may interpret become code points."""
    return "".join(char if char.isalnum() or char in _PLAIN else f"#{ord(char)};" for char in text)


def _dot_text(text: str) -> str:
    """Return a text for a quoted label, in which quotes, backslashes and HTML entities have a meaning."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
