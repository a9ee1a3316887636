"""Changed code: complete tasks whose class, or a class upstream, has other code now than when the artifact was made.

The unique id names a class, not its code, unless ``code_version`` is ``"auto"``. So an artifact may be reused although the
code that made it has changed. Sidecars hold the fingerprints of all code that an artifact comes from, also from upstream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from airflow_kart.artifacts.sidecar.code import MadeWith
from airflow_kart.artifacts.sidecar.repository import is_same, repository_of
from airflow_kart.artifacts.sidecar.source import code_of, place_of
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.identity.code import changed_parts
from airflow_kart.identity.names import find_loaded_class_named, logical_class_name
from airflow_kart.settings import kart_choice
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.graph import Node
from airflow_kart.tasks.model import Task

ON_CHANGED_CODE = ("warn", "rerun", "ignore")
"""What may become of a complete task whose code has changed since."""


def on_changed_code() -> str:
    """Return what becomes of such tasks in the current workspace.

    Raises:
        ConfigurationError: the workspace or the configuration says something unknown.
    """
    given = Workspace.current().on_changed_code
    if given is None:
        return kart_choice("on_changed_code", ON_CHANGED_CODE)
    if given not in ON_CHANGED_CODE:
        raise ConfigurationError(f"on_changed_code is {given!r}; use one of {', '.join(ON_CHANGED_CODE)}")
    return given


class Since(NamedTuple):
    """The differences between the code that made a task's artifact and the loaded code."""

    changed: tuple[type, ...] = ()
    """The classes whose code has changed: the task's own first."""
    elsewhere: str = ""
    """The other repository or DAG bundle that the artifact was made from, in words."""


SAME = Since()


class CodeChanges:
    """Compares the code of complete tasks with the code that this process has loaded.

    Args:
        nodes: the tasks of a graph, whose classes count before others of their names.
        bundle: name and folder of the run's DAG bundle.
    """

    def __init__(self, nodes: Iterable[Node] = (), bundle: tuple[str, str] | None = None) -> None:
        self.policy = on_changed_code()
        self._classes = {logical_class_name(one): one for one in {type(node.task) for node in nodes}}
        self._bundle = bundle
        self._known: dict[tuple[type, MadeWith], Since] = {}

    def since(self, task: Task, made_with: MadeWith | None) -> Since:
        """Return what differs from the code that made a task's artifact."""
        if made_with is None:
            return SAME
        key = (type(task), made_with)
        if key not in self._known:
            own = made_with.fingerprint
            recorded: list[tuple[type, tuple[str, ...]]] = [(type(task), (own,) if own is not None else ())]
            named = ((self._classes.get(name) or find_loaded_class_named(name), found) for name, found in made_with.upstream)
            recorded += [(cls, found) for cls, found in named if cls is not None]
            changed = dict.fromkeys(cls for cls, found in recorded if self.policy != "ignore" and _differs(cls, found))
            found = Since(tuple(changed), self._elsewhere(type(task), made_with))
            self._known[key] = found if found != SAME else SAME  # one object, quickly told
        return self._known[key]

    def _elsewhere(self, cls: type, made_with: MadeWith) -> str:
        file, folder = place_of(cls)
        then, here = made_with.repository, repository_of(folder) if folder else None
        if then is not None and here is not None:
            return "" if is_same(then, here) else f"repository: {then} (here: {here})"
        then, (now, root) = made_with.bundle, self._bundle or ("", "")
        within = file and root and Path(file).is_relative_to(root)  # other modules are not of one bundle
        return f"DAG bundle: {then} (here: {now})" if then and within and then != now else ""


def _differs(cls: type, fingerprints: Iterable[str]) -> bool:
    now = code_of(cls).get("")
    return now is not None and any(one != now for one in fingerprints)


def explain(cls: type, made_by: Iterable[Node]) -> str:
    """Return in words which definitions of a class's code have changed, without the name of the class's module.

    Args:
        cls: the class.
        made_by: tasks of the class; the first one with an artifact of other code tells. The words are empty where none does.
    """
    now = dict(code_of(cls))
    fingerprint = now.pop("", None)
    module = logical_class_name(cls).removesuffix(cls.__qualname__)
    for node in made_by:
        for target in node.targets:
            sidecar = target.state().sidecar
            source = sidecar.content.get("source") if sidecar is not None else None
            parts = source.get("parts") if source and source.get("fingerprint") not in (None, fingerprint) else None
            if isinstance(parts, Mapping):
                changed, count = changed_parts(parts, now)
                names = ", ".join(name.removeprefix(module) for name in changed)
                return f": {names} ({len(changed)} of {count} parts)"
    return ""
