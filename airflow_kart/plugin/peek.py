"""What a page shows of an artifact's content: a preview, and how the columns differ from the version before."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_kart.audit.catalogue.record import Record
from airflow_kart.audit.catalogue.row import Brief
from airflow_kart.audit.catalogue.rows import Catalogue
from airflow_kart.exceptions import KartError
from airflow_kart.plugin.access import Reader
from airflow_kart.plugin.preview.content import Preview
from airflow_kart.plugin.preview.process import preview_of

_MOST_DOWNLOADED = 1 << 30
_FORMATS = ("csv", "feather", "ini", "jpeg", "json", "ndjson", "npy", "npz", "parquet", "png", "text", "xml", "zip")
"""Formats that other programs read; a pickle is for Python only, and runs code."""


@dataclass(frozen=True)
class Peek:
    """A look inside an artifact."""

    record: Record
    preview: Preview
    is_downloadable: bool
    before: Record | None = None
    """The version before, of the same class and output."""
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    """Columns whose types differ from the version before, with both types."""


def peek_of(record: Record, reader: Reader) -> Peek:
    """Return a look inside an artifact, for a user who may see the artifact."""
    preview, downloadable, place, row = preview_of(record), is_downloadable(record), record.place, record.row
    alike = (
        Record(record.workspace, where, one)
        for where, one in Catalogue(record.workspace).rows(row.cls)
        if (one.cls, where) == (row.cls, place) and one.made_at < row.made_at and stem_of(one) == stem_of(row)
    )
    before = None
    try:
        before = max(filter(reader.sees, alike), key=lambda one: one.made_at, default=None)
        then, now = (one.sidecar.artifact.columns if one is not None else None for one in (before, record))
    except KartError:
        then = now = None
    if then is None or now is None:
        return Peek(record, preview, downloadable)
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    changes = [(name, then.get(name, "none"), now.get(name, "none")) for name in changed]
    return Peek(record, preview, downloadable, before, changes)


def is_downloadable(record: Record) -> bool:
    """Whether a browser can have an artifact."""
    return record.row.format.removesuffix("+gzip") in _FORMATS and record.bytes <= _MOST_DOWNLOADED


def stem_of(row: Brief) -> str:
    """Return the name of a file without what tells the task's artifacts apart: the same for each version of an output."""
    return row.name.replace(row.unique_id, "") if row.unique_id else row.name
