"""How pages write outcomes, seconds, sizes, times, runs and values, and where their links lead."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from airflow_kart.audit.catalogue.row import short
from airflow_kart.runtime.tally import in_words, size_text
from airflow_kart.settings import kart_option

OUTCOMES = {
    "failed": ("failed", "failed"),
    "waiting": ("waiting", "waiting"),
    "running": ("running", "running"),
    "ran": ("ran", "ran"),
    "run": ("planned", "to run"),
    "reused": ("cached", "reused"),
    "cached": ("cached", "cached"),
    "not_needed": ("not_needed", "not needed"),
    "skipped": ("not_needed", "skipped"),
}
"""Icon and word of each outcome, those that need a person first."""

UNKNOWN = "\N{EM DASH}"
"""In place of a value that is not there."""

_LONGEST = 200
_MOST_JSON = 100_000
_COMMIT = re.compile("[0-9a-f]{7,64}")
_RUN_ID = re.compile(r"(scheduled|manual|backfill|asset_triggered)__(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")


class Link(NamedTuple):
    """Text that leads to a page."""

    text: str
    href: str


Words = list["str | Link"]
"""A sentence with links."""


def clean(text: str) -> str:
    """Return a text without characters that nobody sees, or that turn the writing around."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def arrows(words: str) -> str:
    """Return words of a cause, arrows drawn."""
    return words.replace(" -> ", " → ")


def cut(value: object, most: int = _LONGEST) -> str:
    """Return a value of a sidecar as text, its end cut off where the text is long; empty for ``None``."""
    text = "" if value is None else str(value)
    return clean(text) if len(text) <= most else f"{clean(text[:most])}… ({len(text):,} characters)"


def value_text(value: Any) -> str:
    """Return a parameter's value in words."""
    return cut(short(value))


def seconds_text(seconds: float | None) -> str:
    """Return a duration, empty for an unknown one."""
    return "" if seconds is None else in_words(seconds)


def bytes_text(count: int | None) -> str:
    """Return a size, empty for an unknown one."""
    return "" if count is None else size_text(count)


def moment(value: str | dt.datetime | None) -> str:
    """Return a moment in UTC, to the minute; a text is ISO 8601."""
    if isinstance(value, dt.datetime):
        value = value.astimezone(dt.timezone.utc).isoformat()
    return clean((value or "")[:16].replace("T", " "))


def part(value: Any, *names: str) -> Mapping[str, Any]:
    """Return a part of a document of which nothing is sure; an empty one where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def json_text(value: Any, *without: str) -> str:
    """Return JSON to read, without some parts of a document."""
    shown = {name: one for name, one in value.items() if name not in without} if isinstance(value, Mapping) else value
    return cut(json.dumps(shown, indent=1, ensure_ascii=False, default=str), _MOST_JSON)


def commit_href(commit: object) -> str:
    """Return the address of a commit on the web, as ``[kart] commit_url`` says; empty for none."""
    pattern, text = kart_option("commit_url").strip(), str(commit)
    known = pattern.startswith("https://") and _COMMIT.fullmatch(text) is not None
    return pattern.replace("{commit}", text) if known else ""


def run_words(run_id: str) -> str:
    """Return a DAG run in words: ``run of 2013-03-02``, ``manual run of 2026-11-25 18:57``; its id where it says nothing."""
    found = _RUN_ID.match(run_id)
    if found is None:
        return f"run {cut(run_id, 80)}"
    kind, date, time = found.groups()
    date = date if kind == "scheduled" and time == "00:00" else f"{date} {time}"
    return f"{'manual ' if kind == 'manual' else ''}run of {date}"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 task``, ``1,000 tasks``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def change_words(label: str, before: str) -> list[tuple[str, str, str]]:
    """Return the name, former and present value of each part of a label that differs from another label's."""
    now, was = (
        {name: value for name, _, value in (one.partition("=") for one in text.split(", ") if one)}
        for text in (label, before)
    )
    return [
        (name, was.get(name, UNKNOWN), now.get(name, UNKNOWN)) for name in {**was, **now} if was.get(name) != now.get(name)
    ]


def run_href(base: str, dag_id: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe=':')}"


def run_link(base: str, dag_id: str, run_id: str) -> Link:
    """Return a run in words that lead to the run's page."""
    return Link(run_words(run_id), run_href(base, dag_id, run_id))


def task_href(base: str, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """Return the address of a task instance's page."""
    mapped = f"?map_index={map_index}" if map_index >= 0 else ""
    return f"{run_href(base, dag_id, run_id)}/tasks/{quote(task_id, safe='')}{mapped}"
