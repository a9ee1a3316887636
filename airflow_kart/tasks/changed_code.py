"""Changed code: complete tasks whose class, or a class upstream, has other code now than when the artifact was made.

The unique id names a class, not its code, unless ``code_version`` is ``"auto"``. So an artifact may be reused although the
code that made it has changed. Sidecars hold the fingerprints of all code that an artifact comes from, also from upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from airflow_kart.artifacts.sidecar.code import MadeWith
from airflow_kart.artifacts.sidecar.source import code_of
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


class CodeChanges:
    """Compares the code of complete tasks with the code that this process has loaded.

    Args:
        class_named: returns the class of a logical name, or ``None``; by default any loaded class.
    """

    def __init__(self, class_named: Callable[[str], type | None] = find_loaded_class_named) -> None:
        self._class_named = class_named
        self._known: dict[tuple[type, MadeWith], tuple[type, ...]] = {}

    @classmethod
    def in_graph(cls, nodes: Mapping[str, Node]) -> CodeChanges:
        """Compare with the classes of a graph, and with those of tasks that a ``run()`` asked for."""
        classes = {logical_class_name(one): one for one in {type(node.task) for node in nodes.values()}}
        return cls(lambda name: classes.get(name) or find_loaded_class_named(name))

    def since(self, task: Task, made_with: MadeWith | None) -> tuple[type, ...]:
        """Return the classes whose code has changed since a task's artifact was made: the task's own first."""
        if made_with is None or (made_with.fingerprint is None and not made_with.upstream):
            return ()
        key = (type(task), made_with)
        if key not in self._known:
            own = made_with.fingerprint
            recorded: list[tuple[type, tuple[str, ...]]] = [(type(task), (own,) if own is not None else ())]
            recorded += [(cls, found) for name, found in made_with.upstream if (cls := self._class_named(name)) is not None]
            self._known[key] = tuple(dict.fromkeys(cls for cls, found in recorded if _differs(cls, found)))
        return self._known[key]


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
