"""The shape of a sidecar: every part that the package reads back has its type, or the document is refused.

``sidecar.schema.json`` says the same, and more; JSON Schema's validators would take longer than all the rest of a look.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping

_DEEPEST = 100
_Check = Callable[[object], bool]


def wrong_part(content: Mapping[str, object], brackets: int) -> str | None:
    """Return the first part of a document that is not as the schema says, with the reason; ``None`` for a good document.

    Args:
        content: the document.
        brackets: how many objects and arrays its text opens, at most.
    """
    if brackets > _DEEPEST and _is_deep(content):
        return f"it is nested more than {_DEEPEST} levels deep"
    if unknown := sorted(map(str, content.keys() - _PARTS.keys())):
        return f"it has a part of an unknown name, {unknown[0]!r:.100}"
    if "artifact" not in content:
        return "it has no artifact"
    wrong = _first_wrong(content, _PARTS)
    if wrong is None and len(_items(content.get("replaces"))) < len(_items(content.get("replaces_publications"))):
        wrong = "replaces_publications"
    if wrong is None:
        return None
    inner = _wrong_field(content[wrong]) if wrong == "artifact" else None
    return f"its {wrong} is not as the schema says" + (f" ({inner})" if inner else "")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15 and math.isfinite(value)


def _is_moment(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return dt.datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _of(kind: type) -> _Check:
    return lambda value: isinstance(value, kind)


def _hex(digits: int) -> _Check:
    written = re.compile(f"[0-9a-f]{{{digits}}}")
    return lambda value: isinstance(value, str) and written.fullmatch(value) is not None


_is_text, _is_object, _is_sha256, _is_hex32 = _of(str), _of(dict), _hex(64), _hex(32)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _or_null(is_right: _Check) -> _Check:
    return lambda value: value is None or is_right(value)


def _list_of(is_right: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(is_right, value))


def _first_wrong(value: Mapping[str, object], fields: Mapping[str, _Check]) -> str | None:
    """Return the name of the first field that is there and wrong."""
    for name, is_right in fields.items():  # a generator would take twice as long, thousands of times
        if name in value and not is_right(value[name]):
            return name
    return None


def _with(**fields: _Check) -> _Check:
    """Return whether a value is an object whose fields of these names are right; all fields are optional."""
    return lambda value: isinstance(value, dict) and _first_wrong(value, fields) is None


def _with_all(**fields: _Check) -> _Check:
    """Return whether a value is an object that has all fields of these names, and right ones."""
    is_right = _with(**fields)
    return lambda value: isinstance(value, dict) and fields.keys() <= value.keys() and is_right(value)


def _is_parameter(value: object) -> bool:
    return isinstance(value, dict) and ("value" in value) != ("private" in value)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_artifact(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == _ARTIFACT.keys() and _first_wrong(value, _ARTIFACT) is None


def _wrong_field(value: object) -> str | None:
    """Return the name of the first wrong field of an artifact's record."""
    if not isinstance(value, dict):
        return None
    for name in sorted(value.keys() ^ _ARTIFACT.keys()):
        return f"{name} is {'missing' if name in _ARTIFACT else 'unknown'}"[:100]
    return _first_wrong(value, _ARTIFACT)


_ARTIFACT: Mapping[str, _Check] = {
    "uri": _is_text,
    "format": _is_text,
    "bytes": _is_count,
    "sha256": _is_sha256,
    "xxh3": _is_hex32,
    "type": _is_text,
    "rows": _or_null(_is_count),
    "columns": _or_null(_is_texts),
    "options": _is_object,
    "labels": _is_texts,
}
_IS_READ = _with(sha256=_or_null(_is_sha256))
_IS_REQUIRED = _with_all(
    key=_list_of(lambda key: isinstance(key, (str, int))),
    **{"class": _is_text},
    unique_id=_is_text,
    artifacts=_list_of(lambda value: isinstance(value, dict) and _is_text(value.get("uri")) and _IS_READ(value)),
)
_IS_ADOPTION = _with(
    id=_is_hex32,
    **{"class": _is_text},
    at=_is_moment,
    by=_is_text,
    reason=_is_text,
    unique_id=_is_text,
    old=_with(fingerprint=_or_null(_is_hex32), code_version=_or_null(_is_text)),
    before=_is_object,
)
_PARTS: Mapping[str, _Check] = {
    "schema_version": _is_count,
    "artifact": _is_artifact,
    "publication": _is_hex32,
    "output": _with(number=_is_count, of=_is_count),
    "replaces": _list_of(_is_sha256),
    "replaces_publications": _list_of(_or_null(_is_hex32)),
    "named": lambda value: value is True,
    "damaged": _with(sha256=_is_sha256, found_at=_is_moment),
    "task": _with(
        **{"class": _is_text},
        unique_id=_is_text,
        parameters=lambda value: isinstance(value, dict) and all(map(_is_parameter, value.values())),
    ),
    "upstream": _list_of(_IS_REQUIRED),
    "upstream_code": lambda value: isinstance(value, dict) and all(map(_list_of(_is_hex32), value.values())),
    "content_key": _is_hex32,
    "reused_from": _with(uri=_is_text, unique_id=_is_text, sha256=_is_sha256),
    "adopted": _list_of(_IS_ADOPTION),
    "source": _with(fingerprint=_or_null(_is_hex32), parts=_is_texts, git=_or_null(_with(repository=_or_null(_is_text)))),
    "task_log": _is_object,
    "log_tail": _list_of(_is_text),
    "run": _with(
        started_at=_is_moment, finished_at=_is_moment, seconds=_is_seconds, reason=_is_text, seed=_or_null(_is_object)
    ),
    "environment": _is_object,
    "airflow": _or_null(_with(dag_id=_is_text, run_id=_is_text, bundle_name=_or_null(_is_text))),
    "digest": _is_sha256,
}


def _is_deep(content: object) -> bool:
    """Whether a document is nested too deeply; without recursion, which deep documents would break."""
    level: list[object] = [content]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        if not inner:
            return False
        level = inner
    return True
