"""Why a task runs, or ran: compared with the nearest artifact of its class, and followed upstream to the root cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airflow_kart import settings
from airflow_kart.artifacts.external import ExternalTarget
from airflow_kart.artifacts.state import NO_ARTIFACT
from airflow_kart.audit.catalogue.history import History, Side, package_of_versions, path_of_key, required_sides
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import short
from airflow_kart.audit.cause import Cause, Why, kind_of_reason
from airflow_kart.audit.code_cause import changed_code
from airflow_kart.exceptions import KartError
from airflow_kart.identity.code import AUTO
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.completeness import Completeness, is_complete
from airflow_kart.tasks.model import Task, kind_of
from airflow_kart.tasks.outputs import targets_of
from airflow_kart.tasks.resolution import resolve

_LONGEST = 100
"""Tasks of a chain of causes, one upstream of the other: a task may need itself of the day before, for years."""


def why_task(task: Task, *, forced: str | None = None, history: History | None = None) -> Why:
    """Return why a task runs in the current workspace, or why it need not.

    Args:
        task: the task.
        forced: the reason, where a caller asks for a rerun.
        history: of the current workspace, for several questions.
    """
    with Workspace.current() as workspace:
        side = Side.of_task(task)
        found = is_complete(task)
        if found.complete and forced is None:
            return Why(str(side), side.unique_id, False, f"it need not run: {found.reason}")
        asked = _Question(workspace, history or History(workspace))
        reason = forced if forced is not None else found.reason
        causes = asked.of_task(task, Completeness(False, reason))
        return Why(str(side), side.unique_id, True, f"it runs: {reason}", asked.compared_with, tuple(causes))


def why_artifact(record: Record, history: History | None = None) -> Why:
    """Return why the task of an artifact ran, compared with what was there before.

    Args:
        record: the artifact.
        history: of the artifact's workspace, for several questions.
    """
    with record.workspace as workspace:
        side, content = Side.of_record(record), record.sidecar.content
        run: Mapping[str, Any] = content.get("run") or {}
        reason, started = str(run.get("reason") or ""), str(run.get("started_at") or record.made_at)
        origin = content.get("reused_from")
        asked = _Question(workspace, history or History(workspace))
        causes = asked.of_record(side, NO_ARTIFACT if origin is not None else reason, started)
        words = f"it {'ran' if origin is None else 'did not run'}: {reason}" if reason else "nobody recorded why"
        return Why(str(side), side.unique_id, origin is None, words, asked.compared_with, tuple(causes))


@dataclass
class _Question:
    workspace: Workspace
    history: History
    compared_with: str | None = None
    _open: set[str] = field(default_factory=set)
    _steps: int = 0

    def of_task(self, task: Task, found: Completeness) -> list[Cause]:
        """Return why a task that is not complete runs."""
        side = Side.of_task(task)
        kind = kind_of_reason(found.reason)
        if kind_of(task).external:
            return [Cause("external", str(side), f"its file is not there: {', '.join(_uris(task))}")]
        if kind == "upstream":
            return [self._upstream_that_runs(side, task, found.reason)]
        if kind == "input":
            uri = found.reason.partition(" has changed since it ran")[0]
            external = any(target.uri == uri and isinstance(target, ExternalTarget) for target in _read(task))
            return [Cause("external" if external else "input", str(side), found.reason, after=uri)]
        if kind == "code":
            return self._code_of_same_id(side, found.reason)
        if kind:
            return [Cause(kind, str(side), found.reason)]
        if kind_of(task).wrapper or not list(targets_of(task)):
            return [Cause("upstream", str(side), found.reason)]
        return self._unknown_id(side, None)

    def of_record(self, side: Side, reason: str, started: str) -> list[Cause]:
        """Return why the task of an artifact ran."""
        kind = kind_of_reason(reason)
        if kind == "":
            return self._unknown_id(side, started)
        if kind == "upstream":
            newer = (
                found
                for part in side.upstream.values()
                for found in required_sides(side, part, self.history)
                if found.record is not None and found.record.made_at >= started[:10] and self._enter(found)
            )
            because = [cause for found in newer for cause in self._ran(found)]
            return [Cause("upstream", str(side), reason, because=tuple(because))]
        if kind == "input" and not self.history.has(reason.partition(" has changed since it ran")[0]):
            kind = "external"
        return [Cause(kind or "unknown", str(side), reason or "nobody recorded why")]

    def _ran(self, side: Side) -> list[Cause]:
        run: Mapping[str, Any] = side.content.get("run") or {}
        reason, started = str(run.get("reason") or ""), str(run.get("started_at") or "")
        return self._upstream(side, partial(self.of_record, side, reason, started))

    def _upstream(self, side: Side, causes: Callable[[], list[Cause]]) -> list[Cause]:
        """Return the causes of a task one step upstream; of a very long chain, that it goes on."""
        if self._steps == _LONGEST:
            return [Cause("upstream", str(side), f"and so on: the chain of causes is longer than {_LONGEST} tasks")]
        self._steps += 1
        try:
            return causes()
        finally:
            self._steps -= 1

    def _enter(self, side: Side) -> bool:
        """Whether a task is met for the first time: a graph is no tree."""
        known = side.unique_id in self._open
        self._open.add(side.unique_id)
        return not known

    def _upstream_that_runs(self, side: Side, task: Task, reason: str) -> Cause:
        because: list[Cause] = []
        for _, required in resolve(task).inputs:
            found = is_complete(required)
            if not found.complete and self._enter(Side.of_task(required)):
                because += self._upstream(Side.of_task(required), partial(self.of_task, required, found))
        return Cause("upstream", str(side), reason, because=tuple(because))

    def _unknown_id(self, side: Side, before: str | None) -> list[Cause]:
        """Return why there was no artifact of a unique id: what makes the id differ from the nearest one's."""
        if before is None and (elsewhere := self._elsewhere(side)) is not None:
            return [elsewhere]
        nearest = self.history.nearest(side, before=before)
        if nearest is None:
            return [self._first(side, before)]
        self.compared_with = nearest.record.uri if nearest.record is not None else None
        return self.differences(side, nearest)

    def _elsewhere(self, side: Side) -> Cause | None:
        """Return the cause of a task whose artifact is there in another place."""
        there = self.history.by_id(side.unique_id)
        now = _uris(side.task) if side.task is not None else []
        if there is not None and there.record is not None and now and there.record.uri not in now:
            words = f"its output is another file now: {there.record.uri} is there, {', '.join(now)} is asked for"
            return Cause("output", str(side), words, there.record.uri, ", ".join(now))
        for directory in _known_directories(self.workspace):
            other = History(Workspace(directory, self.workspace.aws_conn_id, self.workspace.gcp_conn_id, read_from=()))
            if (found := other.by_id(side.unique_id)) is not None and found.record is not None:
                words = f"another workspace has its artifact: {found.record.uri}; this one is {self.workspace.directory}"
                return Cause("workspace", str(side), words, found.record.uri, self.workspace.directory)
        return None

    def _first(self, side: Side, before: str | None) -> Cause:
        """Return the cause of a task whose class has no artifact: perhaps the class had another name."""
        name = side.cls.rpartition(".")[2]
        for other in self.history.classes():
            if other == side.cls:
                continue
            same_end = side.cls.endswith(f".{other}") or other.endswith(f".{side.cls}")
            nearest = self.history.nearest(side, other, before) if same_end or other.rpartition(".")[2] == name else None
            if nearest is None:
                continue
            self.compared_with = nearest.record.uri if nearest.record is not None else None
            if same_end:
                longer, shorter = sorted((side.cls, other), key=len, reverse=True)
                space = longer[: -len(shorter) - 1]
                words = f"the namespace is {'' if side.cls == longer else 'no more '}{space}: the class was {other}"
                return Cause("namespace", str(side), words, other, side.cls)
            return Cause("class", str(side), f"the class is {side.cls} now, and was {other}", other, side.cls)
        same_code = self._of_same_code(side, before)
        if same_code is not None:
            return Cause("class", str(side), f"the class is {side.cls} now, and was {same_code}", same_code, side.cls)
        return Cause("first", str(side), f"there is no earlier artifact of {name}")

    def _of_same_code(self, side: Side, before: str | None) -> str | None:
        """Return the former name of a class: another class of the module that has the same methods, and is not here any more."""
        own = side.members
        module = side.cls.rpartition(".")[0]
        for other in self.history.classes():
            if other.rpartition(".")[0] == module and other != side.cls and own:
                nearest = self.history.nearest(side, other, before)
                if nearest is not None and nearest.members == own:
                    return other
        return None

    def differences(self, now: Side, before: Side) -> list[Cause]:
        """Return what makes the unique ids of two tasks of a class differ."""
        if now.unique_id == before.unique_id or not self._enter(now):
            return []
        causes = [*self._parameters(now, before), *self._code(now, before), *self._required(now, before)]
        if not causes:
            words = "its unique id differs from the nearest artifact's, and nothing that the sidecars record does"
            causes.append(Cause("unknown", str(now), words, before.unique_id, now.unique_id))
        return causes

    def _parameters(self, now: Side, before: Side) -> Iterator[Cause]:
        inputs = {part["unique_id"] for part in now.upstream.values()}
        for name in [*before.parameters, *(name for name in now.parameters if name not in before.parameters)]:
            was, is_now = before.parameters.get(name), now.parameters.get(name)
            counts = [part is not None and part.get("significant", True) for part in (was, is_now)]
            if not any(counts):
                continue
            if is_now is None or was is None:
                words = f"its parameter {name} is {'gone' if is_now is None else 'new'}"
                yield Cause("parameter", str(now), words, _value(was), _value(is_now))
            elif counts[0] != counts[1]:
                words = (
                    f"its parameter {name} {'counts in the id now' if counts[1] else 'does not count in the id any more'}"
                )
                yield Cause("parameter", str(now), words, _value(was), _value(is_now))
            elif _value(was) != _value(is_now) or was.get("digest") != is_now.get("digest"):
                held = self._held(was.get("value"), is_now.get("value"), inputs)
                if held is None:
                    told = (
                        "has another private value"
                        if "value" not in is_now
                        else f"{short(was['value'])} -> {short(is_now['value'])}"
                    )
                    yield Cause(
                        "parameter",
                        str(now),
                        f"{name} {told}" if "value" not in is_now else f"{name}: {told}",
                        _value(was),
                        _value(is_now),
                    )
                else:
                    yield from held
            elif was.get("type") != is_now.get("type"):
                words = f"its parameter {name} is a {is_now.get('type')} now, and was a {was.get('type')}"
                yield Cause("parameter", str(now), words, was.get("type"), is_now.get("type"))

    def _held(self, was: Any, is_now: Any, inputs: set[str]) -> list[Cause] | None:
        """Return the causes of a task held as a parameter; ``None`` for other values.

        A task that is required as well is compared as an upstream. Tasks of another class are another value.
        """
        pairs = list(zip(_tasks(was), _tasks(is_now), strict=False))
        if not pairs or len(_tasks(was)) != len(_tasks(is_now)) or any(a["task"] != b["task"] for a, b in pairs):
            return None
        causes: list[Cause] = []
        for old, new in pairs:
            if old["unique_id"] == new["unique_id"] or new["unique_id"] in inputs:
                continue
            before, now = self.history.by_id(old["unique_id"]), self.history.by_id(new["unique_id"])
            if before is None or now is None:
                return None
            causes += self.differences(now, before)
        return causes

    def _code(self, now: Side, before: Side) -> Iterator[Cause]:
        was, is_now = before.code_version, now.code_version
        if was == is_now == AUTO:
            if before.source.get("fingerprint") != now.source.get("fingerprint"):
                yield changed_code(now, before.source, self.history.changed_lines, of_now=now.task is not None)
        elif was != is_now:
            package = package_of_versions(before, now)
            if package is not None:
                yield Cause("package", str(now), f"{package} {was} -> {is_now}, which its code_version names", was, is_now)
            else:
                lines = changed_code(now, before.source, self.history.changed_lines, of_now=now.task is not None).lines
                yield Cause("code_version", str(now), f"code_version: {was} -> {is_now}", was, is_now, lines)

    def _code_of_same_id(self, side: Side, reason: str) -> list[Cause]:
        """Return which code has changed since an artifact of the same id was made: the task's own, or one's upstream."""
        there = self.history.by_id(side.unique_id)
        if there is None:
            return [Cause("code", str(side), reason)]
        if there.source.get("fingerprint") not in (None, side.source.get("fingerprint")):
            return [changed_code(side, there.source, self.history.changed_lines, of_now=True)]
        because: list[Cause] = []
        for part in side.upstream.values():
            for required in required_sides(side, part, self.history):
                found = is_complete(required.task) if required.task is not None and self._enter(required) else None
                if found is not None and kind_of_reason(found.reason) == "code":
                    because += self._code_of_same_id(required, found.reason)
        return [Cause("upstream" if because else "code", str(side), reason, because=tuple(because))]

    def _required(self, now: Side, before: Side) -> Iterator[Cause]:
        old, new = before.upstream, now.upstream
        gone = {key: part for key, part in old.items() if key not in new}
        added = {key: part for key, part in new.items() if key not in old}
        for key, part in list(added.items()):
            twin = next((each for each, other in gone.items() if other["unique_id"] == part["unique_id"]), None)
            if twin is not None:
                words = f"its input {_key(twin)} is called {_key(key)} now"
                yield Cause("key", str(now), words, _key(twin), _key(key))
                del gone[twin], added[key]
        for key, part in gone.items():
            yield Cause("key", str(now), f"its input {_key(key, part)} is gone", _name(part), None)
        for key, part in added.items():
            yield Cause("key", str(now), f"its input {_key(key, part)} is new", None, _name(part))
        for key, part in new.items():
            if key in old and old[key]["unique_id"] != part["unique_id"]:
                yield from self._other_upstream(now, before, part, old[key])

    def _other_upstream(self, now: Side, before: Side, part: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
        key = _key(path_of_key(part["key"]))
        if old["class"] != part["class"]:
            yield Cause(
                "key",
                str(now),
                f"its input {key} is {_name(part)} now, and was {_name(old)}".replace("  ", " "),
                _name(old),
                _name(part),
            )
            return
        theirs = list(required_sides(before, old, self.history))
        because: list[Cause] = []
        met = False
        for mine in required_sides(now, part, self.history):
            equal = [one for one in theirs if one.cls == mine.cls]
            if any(one.unique_id == mine.unique_id for one in equal):
                continue
            if not equal:
                because.append(Cause("key", str(mine), f"it is a new input of {_name(part)}"))
                continue
            met = met or mine.unique_id in self._open
            nearest = min(equal, key=mine.distance)
            because += self._upstream(mine, partial(self.differences, mine, nearest))
        if because or not met:
            words = f"its input {_key(path_of_key(part['key']), part)} is another"
            yield Cause("upstream", str(now), words, old["unique_id"], part["unique_id"], because=tuple(because))


def _uris(task: Task) -> list[str]:
    return [target.uri for _, target in targets_of(task)]


def _read(task: Task) -> Iterator[Any]:
    for _, required in resolve(task).inputs:
        for _, target in targets_of(required):
            yield target


def _known_directories(workspace: Workspace) -> list[str]:
    """Return the directories of other workspaces that this installation knows."""
    found: list[str] = []
    ask: Callable[[], str] = settings.workspace_directory
    try:
        found.append(ask())
    except KartError:  # none is configured
        return found
    return [one for one in found if one.rstrip("/") != workspace.directory.rstrip("/")]


def _value(part: Mapping[str, Any] | None) -> Any:
    return None if part is None else part.get("value", "***" if part.get("private") else None)


def _tasks(value: Any) -> list[Mapping[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return values if all(isinstance(one, Mapping) and "unique_id" in one and "task" in one for one in values) else []


def _key(path: tuple[Any, ...], part: Mapping[str, Any] | None = None) -> str:
    """Return keys in words, with the class of the required task; a lone input has no key."""
    key, name = ".".join(map(str, path)), "" if part is None else _name(part)
    return f"{key} ({name})" if key and name else key or name


def _name(part: Mapping[str, Any]) -> str:
    return str(part["class"]).rpartition(".")[2]
