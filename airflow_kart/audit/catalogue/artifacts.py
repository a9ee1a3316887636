"""Questions to the catalogue: which artifacts there are, the newest, the one of an id."""

from __future__ import annotations

import datetime as dt
import heapq
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_kart.audit.catalogue.naming import Named, names_of
from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import UNREADABLE, Brief
from airflow_kart.audit.catalogue.rows import Catalogue, Place, decoded, decoded_briefly
from airflow_kart.exceptions import ConfigurationError, MissingArtifactError
from airflow_kart.identity.spelling import unmatched
from airflow_kart.storage.workspace import Workspace

Moment = dt.datetime | dt.date | dt.timedelta
"""A moment; a date is its beginning in UTC, a duration so long before now."""

_FEW = 16
_COLUMNS = (
    "task_class",
    "uri",
    "unique_id",
    "made_at",
    "seconds",
    "bytes",
    "rows",
    "outcome",
    "dag_id",
    "run_id",
    "code_version",
    "state",
)


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of a workspace that fit; iterating asks the catalogue anew, and keeps nothing."""

    workspace: Workspace
    named: Named | None = None
    since: Moment | None = None
    until: Moment | None = None
    dag_id: str | None = None
    run_id: str | None = None
    outcome: str | None = None
    tell: Callable[[int], object] = field(default=lambda _: None, repr=False, compare=False)
    """Is told how many sidecars were read that the catalogue did not know."""

    def __post_init__(self) -> None:
        """Refuse an outcome that no artifact has, and what is no moment."""
        for each in (self.since, self.until):
            moment_text(each)
        if self.outcome not in (None, "ran", "reused"):
            raise ConfigurationError(f"outcome is {self.outcome!r}; an artifact is of a task that ran, or was reused")

    def __iter__(self) -> Iterator[Record]:
        """Iterate over the records, folder after folder."""
        for place, line, _ in self._found():
            yield Record(self.workspace, place, decoded(line))

    def briefs(self) -> Iterator[Brief]:
        """Iterate over what sums need."""
        return (row for _, _, row in self._found())

    def _found(self) -> Iterator[tuple[Place, bytes, Brief]]:
        """Iterate over the lines that fit, each with what of its row the conditions need."""
        decode: Callable[[bytes], Brief] = decoded if self.named is not None and self.named.parameters else decoded_briefly
        mentions = [text for text in (*(self.named.mentions if self.named else ()), self.dag_id, self.run_id) if text]
        fits = self._condition()
        for place, line in Catalogue(self.workspace, tell=self.tell).lines(*mentions):
            row = decode(line)
            if row.state != UNREADABLE and fits(place, row):
                yield place, line, row

    def _condition(self) -> Callable[[Place, Brief], bool]:
        named, since, until = self.named, moment_text(self.since), moment_text(self.until)
        if all(each is None for each in (named, since, until, self.dag_id, self.run_id, self.outcome)):
            return lambda _, __: True

        def fits(place: Place, row: Brief) -> bool:
            return (
                (named is None or named.matches(place, row))
                and (since is None or row.made_at >= since)
                and (until is None or row.made_at < until)
                and self.dag_id in (None, row.dag_id)
                and self.run_id in (None, row.run_id)
                and (self.outcome is None or self.outcome == ("ran" if row.reused_from is None else "reused"))
            )

        return fits

    def of(self, name: str | type, /, **parameters: Any) -> Artifacts:
        """Return the artifacts of a class or of another name, with these values of parameters."""
        return replace(self, named=Named.of(name, parameters))

    def newest(self, most: int | None = None) -> list[Record]:
        """Return the records, the newest first; by default all, which takes memory."""
        if most is None:
            return sorted(self, key=_moment, reverse=True)
        found = heapq.nlargest(most, self._found(), key=lambda each: (each[2].made_at, each[0], each[2].name))
        return [Record(self.workspace, place, decoded(line)) for place, line, _ in found]

    def latest(self, name: str | type | None = None, /, **parameters: Any) -> Record:
        """Return the newest artifact that is whole.

        Args:
            name: a class, or its name; by default the one that was asked for, or all.
            parameters: values that the task must have.

        Raises:
            MissingArtifactError: there is none.
            ConfigurationError: there are parameters, and no class was named.
        """
        if name is not None:
            asked = self.of(name, **parameters)
        elif not parameters:
            asked = self
        elif self.named is not None and self.named.cls:
            asked = replace(self, named=replace(self.named, parameters={**self.named.parameters, **parameters}))
        else:
            raise ConfigurationError(f"latest() was given {', '.join(parameters)} and no class; name the class, too")
        few = asked.newest(_FEW)
        found = next((record for record in few if record.is_whole), None)
        if found is None and len(few) == _FEW:
            found = next((record for record in asked.newest() if record.is_whole), None)
        if found is None:
            raise asked.none()
        return found

    def get(self, name: str) -> Record:
        """Return the artifact of a unique id, of its beginning, or of a uri; of several outputs the first by name.

        Raises:
            MissingArtifactError: there is none.
            ConfigurationError: artifacts of several tasks have ids that begin so.
        """
        asked = self.of(name)
        if asked.named is not None and not (asked.named.uri or asked.named.unique_id):
            raise ConfigurationError(f"{name!r} is neither a unique id nor a uri; ask latest() for a class")
        found = sorted(asked, key=lambda record: record.uri)
        if not found:
            raise asked.none()
        if len({record.unique_id for record in found}) > 1:
            raise ConfigurationError(f"the unique ids of several tasks begin with {name}; give more digits")
        return found[0]

    def none(self) -> MissingArtifactError:
        """Return the error of a name that no artifact has."""
        here = self.workspace.directory
        if self.named is None or self.named.uri or not self.named.cls:
            given = self.named.text if self.named is not None else "these conditions"
            return MissingArtifactError(f"the workspace {here} has no artifact of {given}", task=given)
        known = {row.cls for row in Artifacts(self.workspace).briefs() if row.cls}
        text = self.named.cls
        if any(text in names_of(name) for name in known):
            return MissingArtifactError(f"the workspace {here} has artifacts of {text}, but none that fits", task=text)
        if not known:
            return MissingArtifactError(f"the workspace {here} has no artifact at all", task=text)
        return MissingArtifactError(
            f"the workspace {here} has no artifact of it: {unmatched(text, {name.rpartition('.')[2] for name in known})}",
            task=text,
        )

    def to_frame(self, kind: str = "pandas") -> Any:
        """Return a table with a row for each artifact, and a column ``parameters.<name>`` for each parameter.

        Args:
            kind: ``pandas`` or ``polars``.

        Raises:
            ConfigurationError: the kind is another, or the library is not installed.
        """
        if kind not in ("pandas", "polars"):
            raise ConfigurationError(f"kind is {kind!r}; there are pandas and polars")
        rows = [(record, record.parameters) for record in self.newest()]
        names = sorted({name for _, parameters in rows for name in parameters})
        columns = {column: [getattr(record, column) for record, _ in rows] for column in _COLUMNS}
        columns |= {f"parameters.{name}": [_plain(parameters.get(name)) for _, parameters in rows] for name in names}
        try:
            library: Any = importlib.import_module(kind)
        except ImportError as error:
            raise ConfigurationError(f"{kind} is not installed: {error}") from error
        return library.DataFrame(columns) if kind == "pandas" else library.DataFrame(columns, strict=False)


def _moment(record: Record) -> tuple[str, str]:
    return record.made_at, record.uri


def load(found: str | Mapping[str, Any], workspace: Workspace | None = None) -> Any:
    """Load the artifact of a uri, or what a kart operator returned: in a task of Airflow downstream of the operator.

    Args:
        found: a uri, or the operator's XCom.
        workspace: its connections lead to the store; by default those that the operator had, or the current workspace's.

    Returns:
        The object; of a task with several outputs a list of objects, in the order of ``output()``.

    Raises:
        ConfigurationError: the XCom is of no kart operator, or of one without an artifact.
        ArtifactError: as :meth:`airflow_kart.Target.load`.
    """
    from airflow_kart.artifacts.target import Target  # only this needs the formats

    if isinstance(found, str):
        return Target.from_uri(found, workspace).load()
    artifacts = found.get("artifacts") if isinstance(found, Mapping) else None
    if not artifacts:
        raise ConfigurationError(
            f"load() was given {found!r:.200}, which is neither a uri nor the result of a kart operator with an artifact; give it "
            "the return value of the operator, or kart_result(ti, task_id)"
        )
    if workspace is None and found.get("connections"):
        workspace = Workspace(artifacts[0]["uri"].rpartition("/")[0], **found["connections"])
    objects = [Target.from_uri(artifact["uri"], workspace).load() for artifact in artifacts]
    return objects[0] if len(objects) == 1 else objects


def _plain(value: Any) -> Any:
    return (
        value.get("unique_id", str(value))
        if isinstance(value, Mapping)
        else str(value)
        if isinstance(value, list)
        else value
    )


def moment_text(moment: Moment | None) -> str | None:
    """Return a moment as sidecars write it.

    Raises:
        ConfigurationError: the moment is none, or outside of the years from 1 to 9999.
    """
    if moment is None:
        return None
    try:
        found = dt.datetime.now(dt.timezone.utc) - moment if isinstance(moment, dt.timedelta) else moment
        if not isinstance(found, dt.datetime):
            found = dt.datetime(found.year, found.month, found.day, tzinfo=dt.timezone.utc)
        return found.astimezone(dt.timezone.utc).isoformat()
    except (AttributeError, OverflowError, ValueError):
        raise ConfigurationError(
            f"{moment!r} is no moment in the years 1 to 9999; give a datetime, a date, or a timedelta before now"
        ) from None
