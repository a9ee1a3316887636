"""Adoption: the artifacts of a class stay good after a change of its code, since somebody says that the change does not matter.

Under another unique id than before, the artifact appears as a copy, on a disk as a hard link, with a sidecar of its own. Under the
same id, the artifact's sidecar gets the present code. Either sidecar keeps a record: who, when, why, from which id and code.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from airflow_kart.artifacts import index
from airflow_kart.artifacts.publication import copy_of
from airflow_kart.artifacts.sidecar import Sidecar, read_sidecar, sidecar_uri, upstream_code
from airflow_kart.artifacts.sidecar.jsonable import as_json
from airflow_kart.artifacts.sidecar.source import code_of
from airflow_kart.artifacts.staged import Unmoved, sidecar_version
from airflow_kart.artifacts.state import TargetState, look_at
from airflow_kart.artifacts.target import Target
from airflow_kart.audit.adoption.shares import in_shares
from airflow_kart.audit.adoption.trials import Ready, Source, verified
from airflow_kart.audit.records import REPLACED, Adopted, Tell, class_of, held, rewritten
from airflow_kart.audit.restored import NotAdopted, again, content_then, may_become_one, read_before
from airflow_kart.audit.walk import sidecars
from airflow_kart.exceptions import ConfigurationError, ConflictError, IdentityError, KartError, LockError, StorageError
from airflow_kart.formats import options_of
from airflow_kart.identity.code import AUTO, code_version_of
from airflow_kart.identity.encoding import digest
from airflow_kart.identity.names import logical_class_name
from airflow_kart.locks import Hold, locks_for
from airflow_kart.storage import KeepsFiles, Upload
from airflow_kart.storage.workspace import Workspace
from airflow_kart.tasks.content import content_key, content_of
from airflow_kart.tasks.model import Task
from airflow_kart.tasks.outputs import own_targets, targets_of
from airflow_kart.tasks.provenance import object_metadata, task_parts
from airflow_kart.tasks.redaction import Redaction
from airflow_kart.tasks.resolution import one_walk
from airflow_kart.tasks.restoration import Restoration

ALL = "all"
_FEWEST_DIGITS = 4
"""Of a fingerprint that a version names."""

logger = logging.getLogger(__name__)


class _Candidate(NamedTuple):
    moment: str
    unique_id: str
    uri: str
    version: str
    fingerprint: str
    same_code: bool
    words: str
    task: Mapping[str, Any]
    """The part of the sidecar."""


def adopt(
    cls: type | str,
    *,
    reason: str,
    verify: int = 0,
    by: str | None = None,
    versions: Sequence[str] = (),
    dry_run: bool = False,
    tell: Tell = lambda _done, _of: None,
) -> list[Adopted]:
    """Let the artifacts of a class stay good after a change of its code that does not matter; in the current workspace.

    Args:
        cls: the class, its logical name, or the end of that name.
        reason: why the change does not matter.
        verify: so many tasks are made again first, in a scratch directory. Where bytes differ, nothing is adopted.
        by: who says so; by default the name of the process's user.
        versions: of the earlier code, whose artifacts are adopted: texts of ``code_version``, or at least four first digits of
            fingerprints; ``all`` for all; by default the version of the newest artifact, or of those that the same call adopted.
        dry_run: change nothing.
        tell: is told of the progress.

    Returns:
        What became, or would become, of each task, the newest artifact first.

    Raises:
        UnequalArtifactError: a task that was made again has other bytes; nothing was adopted.
        IdentityError: there is no such class, or no artifact of such a class.
        KartError: a store or a lock failed. What was adopted before stays; another call goes on.
    """
    if not reason.strip() or verify < 0 or "" in versions:
        raise ConfigurationError(
            "adopt(): say in reason why the change does not matter; verify is a number, no version is empty"
        )
    with Workspace.current() as workspace, one_walk():
        adoption = _Adoption(workspace, class_of(workspace, cls), dry_run)
        adoption.record |= {"by": by or _user(), "reason": reason}
        said = json.dumps([adoption.name, adoption.code, adoption.record["by"], reason])
        adoption.record["id"] = digest(b"airflow-kart/adoption/1", [said.encode()]).hex()  # the same for one that goes on
        return adoption.carried_out(verify, versions, tell)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without a list of users
        return str(os.getuid())


@dataclass
class _Adoption:
    workspace: Workspace
    cls: Any
    dry_run: bool
    record: dict[str, Any] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    """Artifacts downstream, whose sidecars have other fingerprints of the class than the present one."""
    in_place: set[str | None] = field(default_factory=set)
    """The earlier fingerprints of artifacts that stay at their ids."""

    def __post_init__(self) -> None:
        self.name = logical_class_name(self.cls)
        version = code_version_of(self.cls)
        counts = AUTO if version == AUTO else self.cls.code_version
        self.code: dict[str, str | None] = {"code_version": counts, "fingerprint": code_of(self.cls).get("")}
        at = dt.datetime.now(dt.timezone.utc).isoformat()
        self.record |= {"class": self.name, "at": at, "new": self.code, "verified": 0}
        self.inputs_now: dict[str, tuple[TargetState, str | None]] = {}
        self.restoration = Restoration(self.workspace, any_id=True)
        self.locks = locks_for(self.workspace)
        self.on_disk = isinstance(self.workspace.store, KeepsFiles)
        self.environment: object = None

    def carried_out(self, verify: int, versions: Sequence[str], tell: Tell) -> list[Adopted]:
        candidates, results = self._candidates(versions)
        if verify:
            ready = (self._ready(each) for each in sorted(candidates, key=lambda each: each.unique_id))
            self.record["verified"] = verified(self.workspace, filter(None, ready), verify)
        total = len(candidates)
        groups = may_become_one([each.task.get("parameters") or {} for each in candidates])
        shares = in_shares(self._adopted, candidates, groups) if self.on_disk else map(self._adopted, candidates)
        for number, (result, in_place) in enumerate(shares, 1):
            results.append(result)
            self.in_place |= in_place
            tell(number, total)
        results += [found for uri in self.stale if (found := self._refreshed(uri)) is not None]
        return results

    def _candidates(self, versions: Sequence[str]) -> tuple[list[_Candidate], list[Adopted]]:
        """Return the tasks with artifacts of other code, the newest first, and those of code that is not to be adopted."""
        found: dict[str, _Candidate] = {}
        adopted: set[str] = set()
        said: set[str] = set()
        latest = "", ""
        for uri, sidecar, _ in sidecars(self.workspace, self.name):
            if sidecar.class_name == self.name and sidecar.unique_id is not None:
                each = self._candidate(uri, sidecar)
                if sidecar.code != self.code:
                    found.setdefault(each.unique_id, each)
                adopted.update(one["unique_id"] for one in sidecar.adoptions if "before" not in one)
                records = [one for one in sidecar.adoptions if one["class"] == self.name]
                said |= {self._version(one["old"]) for one in records if one["id"] == self.record["id"]}
                kept = (one for one in records if "before" in one and one["id"] == self.record["id"])
                self.in_place |= {one["old"]["fingerprint"] for one in kept}
                version = each.version
                if sidecar.code == self.code:
                    version = self._version(records[-1]["old"]) if records and records[-1]["new"] == self.code else ""
                latest = max(latest, (each.moment, version))
            elif any(fingerprint != self.code["fingerprint"] for fingerprint in _upstream(sidecar, self.name)):
                self.stale.append(uri)
        if latest == ("", ""):
            raise IdentityError(f"the workspace {self.workspace.directory} has no artifact of {self.name}", task=self.name)
        newest = sorted(found.values(), key=lambda each: each.moment, reverse=True)
        wanted = set(versions) or said or {latest[1]}
        digits = tuple(text for text in set(versions) - {each.version for each in newest} if len(text) >= _FEWEST_DIGITS)
        chosen, left = [], []
        for each in newest:
            if each.same_code or ALL in versions or each.version in wanted or each.fingerprint.startswith(digits):
                chosen.append(each)
            elif each.unique_id not in adopted:
                why = f"made by an earlier version of the code, {each.version}; versions, or --from, adopts this one too"
                left.append(Adopted("skipped", each.words, each.unique_id, None, each.uri, why))
        return chosen, left

    def _candidate(self, uri: str, sidecar: Sidecar) -> _Candidate:
        moments = [record["at"] for record in sidecar.adoptions if record["class"] == self.name]
        moment = moments[-1] if moments else sidecar.published_at
        task, code = sidecar.content["task"], sidecar.code
        words, fingerprint = f"{self.cls.__name__}({task.get('label') or ''})", code["fingerprint"]
        same = fingerprint == self.code["fingerprint"]
        version = self._version(code)
        return _Candidate(moment, str(sidecar.unique_id), uri, version, fingerprint or "", same, words, task)

    def _version(self, code: Mapping[str, str | None]) -> str:
        """Return the text that tells code from other code: a ``code_version`` of its own, else the fingerprint."""
        version = code["code_version"]
        return (version if version not in (None, AUTO, self.code["code_version"]) else code["fingerprint"]) or "unknown"

    def _ready(self, candidate: _Candidate) -> Ready | None:
        try:
            return self._examined(self._restored(candidate), candidate)
        except (NotAdopted, KartError):
            return None

    def _adopted(self, candidate: _Candidate) -> tuple[Adopted, set[str | None]]:
        """Adopt the artifacts of one task; return what became of them, and the earlier code of those that stay at their id."""

        def became(outcome: str, reason: str, *code: str | None) -> tuple[Adopted, set[str | None]]:
            return Adopted(outcome, words, candidate.unique_id, new_id, candidate.uri, reason), set(code)

        words, new_id = candidate.words, None
        try:
            task = self._restored(candidate)
            new_id = task.unique_id
            if self.dry_run:
                ready = self._examined(task, candidate)
            else:
                with held(self.locks, new_id, f"the adoption of {words}") as hold:
                    ready = self._examined(task, candidate)
                    if ready is not None:
                        self._publish(ready, hold)
        except (StorageError, LockError):
            raise
        except (NotAdopted, KartError, FileNotFoundError) as error:
            logger.info("%s is not adopted: %s", words, error)
            return became("skipped", str(error))
        if ready is None:
            return became("there", "complete already")
        stay = ready.sources if new_id == candidate.unique_id else ()
        return became("adopted", self.record["reason"], *(source.sidecar.code["fingerprint"] for source in stay))

    def _restored(self, candidate: _Candidate) -> Task:
        parameters = candidate.task.get("parameters")
        if parameters is None:
            raise NotAdopted("its sidecar has no parameters")
        return again(self.cls, parameters, self.restoration)

    def _examined(self, task: Task, candidate: _Candidate) -> Ready | None:
        """Return a task that can be adopted, ``None`` for one that need not be.

        Raises:
            NotAdopted: the artifacts must not be adopted.
        """
        found = targets_of(task)
        written = {target.uri for target in own_targets(task, [target for _, target in found])}
        own = [(path, target) for path, target in found if target.uri in written]
        states = [target.state() for _, target in own]
        if task.unique_id != candidate.unique_id and all(state.complete for state in states):
            return None
        sources = [
            _source(target, state, task.unique_id, candidate.unique_id)
            for (_, target), state in zip(own, states, strict=True)
        ]
        if len({source.sidecar.publication for source in sources} - {None}) > 1:
            raise NotAdopted("its outputs are of different runs")
        first = sources[0].sidecar
        if first.content["task"].get("parameters") != candidate.task["parameters"]:
            raise NotAdopted(REPLACED)
        read = read_before(task, first, self.inputs_now)
        described = task_parts(task, read.checksums, Redaction(task))
        for name, part in described["task"]["parameters"].items():
            then = candidate.task["parameters"].get(name) or {}
            if part.get("private") and then.get("private"):  # the task has the default instead: no sidecar has the value
                part["digest"] = then.get("digest")
        dynamic = [part for part in first.content.get("upstream") or () if part.get("dynamic")]
        content = content_of(task, read.contents)
        key = content_key(task, content, own) if content is not None and "content_key" in first.content else None
        parts = {"task": described["task"], "source": described["source"], "content_key": key}
        if task.unique_id != candidate.unique_id:
            parts["upstream"] = described["upstream"] + dynamic
        if read.moved:
            code, fixed = upstream_code(read.moved), upstream_code(read.stayed)
            if dynamic:  # these may have been made from classes further upstream, too
                code = {name: code[name] for name in {str(one.class_name) for one in read.moved} & code.keys()}
            code = {name: found for name, found in code.items() if name not in fixed}
            parts["upstream_code"] = {**(first.content.get("upstream_code") or {}), **code}
        return Ready(task, sources, parts, partial(content_then, task, first, read.contents))

    def _publish(self, ready: Ready, hold: Hold) -> None:
        self._publish_copies(ready, hold)
        for source in ready.sources:
            if source.uri == source.target.uri:
                old = source.sidecar.content
                changed = (
                    name for name, part in ready.parts.items() if old.get(name) != part and old.get(name) != as_json(part)
                )
                before = {name: old.get(name) for name in changed}
                if before:  # else a process that was killed before the next output's turn adopted this one
                    self._write(source, ready.parts, source.sidecar.version, before=before)
        if (key := ready.parts["content_key"]) is not None:
            index.record(self.workspace, key, [source.target.uri for source in ready.sources])

    def _publish_copies(self, ready: Ready, hold: Hold) -> None:
        """Publish all artifacts before the first sidecar: no artifact counts without."""
        store = self.workspace.store
        copies = [source for source in ready.sources if source.uri != source.target.uri and not source.there]
        metadata = object_metadata(ready.task) if copies and not self.on_disk else {}
        uploads: list[Upload | Unmoved] = []
        try:
            for target, uri, sidecar, _ in copies:
                uploads.append(copy_of(target.uri, store, store, replace(sidecar.artifact, uri=uri), metadata))
                if sidecar_version(store, uri) != sidecar.version:  # then the bytes may be others than the sidecar's
                    raise NotAdopted(REPLACED)
            hold.check()
            places = [source.target.uri for source in copies]
            with store.publishing([*places, *map(sidecar_uri, places)]):
                for uri, upload in zip(places, uploads, strict=True):
                    left = store.stat(uri)  # by a process that was killed before it wrote the sidecar
                    upload.publish(left.version if left is not None else None)
                for source in copies:
                    self._write(source, ready.parts, None)
        except ConflictError:
            raise NotAdopted(REPLACED) from None
        finally:
            for upload in uploads:
                upload.discard()

    def _write(self, source: Source, parts: Mapping[str, Any], expected: str | None, **more: object) -> None:
        sidecar = source.sidecar
        origin = {"unique_id": sidecar.unique_id, "uri": source.uri, "sha256": sidecar.artifact.sha256, "old": sidecar.code}
        adopted = [*sidecar.adoptions, {**self.record, **origin, **more}]
        if (environment := sidecar.content.get("environment")) != self.environment:
            self.environment = environment  # one object for many artifacts is encoded once
        parts = {**parts, "environment": self.environment}
        rewritten(self.workspace.store, source.target.uri, sidecar, {**parts, "adopted": adopted}, expected)

    def _refreshed(self, uri: str) -> Adopted | None:
        """Let the sidecar of an artifact downstream name the present code of the class, too."""
        store, now = self.workspace.store, self.code["fingerprint"]
        sidecar = read_sidecar(store, uri)
        old = _upstream(sidecar, self.name) if sidecar is not None else ()
        if sidecar is None or sidecar.unique_id is None or now is None or not self.in_place.intersection(old):
            return None
        if sidecar.replaces is not None or sidecar.damage is not None:  # it runs anyway
            return None
        task = sidecar.content["task"]
        words = f"{str(sidecar.class_name).rpartition('.')[2]}({task.get('label') or ''})"
        outcome, reason = "adopted", f"upstream: {self.record['reason']}"
        new = sorted({now if fingerprint in self.in_place else fingerprint for fingerprint in old})
        origin = {"unique_id": sidecar.unique_id, "uri": uri, "sha256": sidecar.artifact.sha256}
        code = {"code_version": None, "fingerprint": next(iter(self.in_place.intersection(old)))}
        record = {**self.record, **origin, "old": code, "before": {"upstream_code": {self.name: list(old)}}}
        changed = {
            "upstream_code": {**sidecar.content["upstream_code"], self.name: new},
            "adopted": [*sidecar.adoptions, record],
        }
        try:
            if not self.dry_run:
                with held(self.locks, sidecar.unique_id, f"the adoption of {words}"):
                    rewritten(store, uri, sidecar, changed, sidecar.version)
        except NotAdopted as error:
            outcome, reason = "skipped", str(error)
        return Adopted(outcome, words, sidecar.unique_id, sidecar.unique_id, uri, reason)


def _source(target: Target, now: TargetState, new_id: str, old_id: str) -> Source:
    """Return the artifact that a target had under an earlier id."""
    uri = target.uri.replace(new_id, old_id)
    if uri != target.uri and now.sidecar is not None and not now.complete:
        raise NotAdopted(f"under its new id: {now.reason}")
    state, name = look_at(target.store, uri, target.format, None), posixpath.basename(uri)
    if not state.complete or state.sidecar is None:
        raise NotAdopted(f"{name}: {state.reason}")
    if state.sidecar.unique_id not in (old_id, new_id):
        raise NotAdopted(f"{name}: the artifact is of another task, {state.sidecar.unique_id}")
    if state.sidecar.artifact.options != as_json(options_of(target.format)):
        raise NotAdopted(f"{name}: the artifact was written with other options than the target has")
    return Source(target, uri, state.sidecar, now.complete)


def _upstream(sidecar: Sidecar, name: str) -> tuple[str, ...]:
    """Return the fingerprints of a class in the code upstream of an artifact."""
    return dict(sidecar.made_with.upstream).get(name, ())
