"""The targets of a task, checked, with their keys; and the targets that a task reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from airflow_kart.artifacts.target import Target
from airflow_kart.artifacts.together import load_together
from airflow_kart.exceptions import KartError, TargetError, TargetPathError
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.model import Outputs, Task, kind_of, task_state
from airflow_kart.tasks.nesting import KeyPath, NotALeafError, describe_path, follow, leaves, map_leaves
from airflow_kart.tasks.resolution import resolve


def targets_of(task: Task) -> tuple[tuple[KeyPath, Target], ...]:
    """Return the targets of a :class:`~airflow_kart.tasks.task.TaskOnKart` with their keys; a wrapper has none.

    Raises:
        TargetError: ``output()`` failed, or returned something that is not a target, or none at all.
        TargetPathError: two of them are at the same path.
    """
    return _outputs(task).targets


def nested_outputs(task: Task) -> object:
    """Return the targets of a task as ``output()`` nests them; raises as :func:`targets_of`."""
    return _outputs(task).nested


def _outputs(task: Task) -> Outputs:
    """Return the outputs of a task. One ``with`` block of a workspace asks ``output()`` once."""
    state, workspace = task_state(task), Workspace.surrounding()
    if state.outputs is None or workspace is None or state.outputs.workspace is not workspace:
        state.outputs = _checked_outputs(task, workspace)
    return state.outputs


def _checked_outputs(task: Task, workspace: Workspace | None) -> Outputs:
    try:
        outputs = task.output()
    except KartError:
        raise
    except Exception as error:
        raise TargetError(f"{task!r}.output() failed: {type(error).__name__}: {error}", task=repr(task)) from error
    try:
        found = tuple(leaves(outputs, Target))
    except NotALeafError as error:
        raise TargetError(
            f"{task!r}.output() returned {error.wrong('a target')}; return make_target(...), or dicts and lists of these",
            task=repr(task),
        ) from None
    if not found and not kind_of(task).wrapper:
        raise TargetError(
            f"{task!r}.output() returned no target; return make_target(...), or make it a WrapperTask if it only groups others",
            task=repr(task),
        )
    _refuse_shared_paths(task, found)
    return Outputs(workspace, outputs, found)


def own_targets(task: Task, targets: Iterable[Target]) -> list[Target]:
    """Return the targets that a task writes itself: ``output()`` may pass on targets of the inputs."""
    return [target for target in targets if target.owner is None or target.owner.unique_id == task.unique_id]


def output_at(task: Task, key: str | int | None) -> Target:
    """Return one output of a task.

    Args:
        task: the task.
        key: the output's key in ``output()``; ``None`` for the only output.

    Raises:
        TargetError: there is no such output; or there are several, and no key.
    """
    outputs = nested_outputs(task)
    try:
        found = outputs if key is None else follow(outputs, (key,))
    except LookupError:
        found = None
    if not isinstance(found, Target):
        names = ", ".join(describe_path(path) for path, _ in targets_of(task))
        which = "which output?" if key is None else f"there is no output {key!r};"
        raise TargetError(f"{task!r}.dump(): {which} Name one of them by its key: {names}", task=repr(task))
    return found


def needed_targets(task: Task) -> Iterator[tuple[KeyPath, Task, Target]]:
    """Return each target that a task reads, once, with the keys of the required task, and that task.

    A wrapper stands for the tasks that it groups.
    """
    seen: set[str] = set()
    pending = list(reversed(resolve(task).inputs))
    while pending:
        path, required = pending.pop()
        if kind_of(required).wrapper and required.unique_id not in seen:
            seen.add(required.unique_id)
            pending += [((*path, *keys), inner) for keys, inner in reversed(resolve(required).inputs)]
        for _, target in targets_of(required):
            if target.uri not in seen:
                seen.add(target.uri)
                yield path, required, target


def load_nested(outputs: object, columns: Sequence[str] | None = None) -> Any:
    """Load nested targets, and return the objects nested in the same way; outputs of one task are of one run.

    Raises:
        KartError: as :meth:`airflow_kart.Target.load`.
    """
    targets: list[Target] = []
    map_leaves(targets.append, outputs, Target)
    loaded = iter(load_together(targets, columns))
    return map_leaves(lambda _target: next(loaded), outputs, Target)


def read_targets(task: Task) -> list[Target]:
    """Return the targets that a task downstream reads: those of the task itself, or of all tasks that a wrapper groups."""
    if not kind_of(task).wrapper:
        return [target for _, target in targets_of(task)]
    own = [target for _, target in targets_of(task)]
    return list(dict.fromkeys([*own, *(target for _, _, target in needed_targets(task))]))


def _refuse_shared_paths(task: Task, targets: Iterable[tuple[KeyPath, Target]]) -> None:
    seen: dict[str, KeyPath] = {}
    for path, target in targets:
        if target.uri in seen:
            raise TargetPathError(
                f"{task!r}.output(): {describe_path(seen[target.uri])} and {describe_path(path)} are the same file, {target.uri}; "
                "give each output a path of its own",
                task=repr(task),
                uri=target.uri,
            )
        seen[target.uri] = path
