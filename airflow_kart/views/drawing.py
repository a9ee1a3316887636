"""A task's graph as a tree of text lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from airflow_kart.artifacts.sidecar import Sidecar
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.tasks.model import Task
from airflow_kart.views.caption import as_text, key_text, one_line, parameter_texts, state_texts, title
from airflow_kart.views.survey import Survey, SurveyedTask, survey, task_log

_DEEPEST = 50  # deeper tasks start a tree of their own: the indents of a long chain would fill the memory
_MOST_LINES = 100_000
_LONGEST_PARAMETER = 200


def tree(task: Task, *, details: bool = False, abbreviate: bool = True, ignore: Collection[str] = ()) -> str:
    """Return a task and everything upstream as a tree of lines, each with class, short unique id and state.

    ``...`` stands for a task that the tree draws elsewhere: in a line before, or, at a depth of fifty, later by itself.

    Args:
        task: the root.
        details: whether parameters, uris and the task log follow each task.
        abbreviate: whether to draw a task that several others require once.
        ignore: names of task classes, or globs, to leave out together with tasks that only these require. The root stays.

    Raises:
        ConfigurationError: without abbreviations the tree has too many lines.
        KartError: the tasks do not make a graph, or a store cannot be asked.
    """
    surveyed = survey(task, ignore, "tree")
    lines = []
    for line in _Drawing(surveyed, abbreviate, surveyed.sidecars() if details else None).lines():
        lines.append(line)
        if not abbreviate and len(lines) > _MOST_LINES:
            raise ConfigurationError(
                f"tree({task!r}, abbreviate=False) has more than {_MOST_LINES:,} lines, as many tasks require the same ones; "
                "leave abbreviate on"
            )
    return "\n".join(lines)


@dataclass(frozen=True)
class _Branch:
    """One place of a tree."""

    unique_id: str
    key: str = ""
    depth: int = 0
    indent: str = ""
    """The text before the lines of the downstream task."""
    last: bool = True
    """Whether the downstream task requires no more after this one."""

    @property
    def head(self) -> str:
        """The text before the task itself."""
        corner = ("└── " if self.last else "├── ") if self.depth else ""
        return self.indent + corner + (f"{self.key}: " if self.key else "")

    @property
    def inner_indent(self) -> str:
        """The text before the task's details and upstream tasks."""
        return self.indent + (("    " if self.last else "│   ") if self.depth else "")


class _Drawing:
    def __init__(self, surveyed: Survey, abbreviate: bool, sidecars: Mapping[str, tuple[Sidecar, ...]] | None) -> None:
        self._survey = surveyed
        self._abbreviate = abbreviate
        self._sidecars = sidecars

    def lines(self) -> Iterator[str]:
        drawn: set[str] = set()
        tops = deque([self._survey.root])
        while tops:
            top = tops.popleft()
            if top in drawn:
                continue
            if drawn:
                yield ""
            drawn.add(top)
            pending = [_Branch(top)]
            while pending:
                branch = pending.pop()
                found = self._survey.tasks[branch.unique_id]
                again = self._abbreviate and branch.depth > 0 and branch.unique_id in drawn
                if again or (branch.depth == _DEEPEST and found.inputs):
                    tops.append(branch.unique_id)  # its turn passes if another line has drawn it by then
                    yield f"{branch.head}{title(found.node.task)} ..."
                    continue
                drawn.add(branch.unique_id)
                yield f"{branch.head}{title(found.node.task)} {', but '.join(state_texts(found))}"
                yield from self._details(branch, found)
                pending += reversed(_upstream(branch, found))

    def _details(self, branch: _Branch, found: SurveyedTask) -> Iterator[str]:
        if self._sidecars is None:
            return
        indent = branch.inner_indent + ("│   " if found.inputs else "    ")
        for text in parameter_texts(found.node.task, _LONGEST_PARAMETER):
            yield f"{indent}{text}"
        for target in found.node.targets:
            yield f"{indent}at {one_line(target.uri)}"
        if log := task_log(self._sidecars[branch.unique_id]):
            yield f"{indent}task_log {as_text(log)}"


def _upstream(branch: _Branch, found: SurveyedTask) -> list[_Branch]:
    last = len(found.inputs) - 1
    return [
        _Branch(unique_id, key_text(path), branch.depth + 1, branch.inner_indent, number == last)
        for number, (path, unique_id) in enumerate(found.inputs)
    ]
