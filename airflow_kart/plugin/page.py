"""One page: a template of this package, its values all escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from xxhash import xxh3_64_hexdigest

from airflow_kart.plugin import words

AIRFLOW = "kart.airflow"
"""The key of Airflow's whole application in the scope of a request."""

STATIC = Path(__file__).parent / "static"
"""The folder of style sheets and scripts."""


@cache
def _templates() -> Environment:
    found = Environment(
        loader=PackageLoader("airflow_kart.plugin"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "seconds": words.seconds_text,
        "bytes": words.bytes_text,
        "moment": words.moment,
        "cut": words.cut,
        "value": words.value_text,
        "counted": words.counted,
        "part": words.part,
        "json": words.json_text,
        "commit_href": words.commit_href,
    }
    found.globals |= {
        "outcomes": words.OUTCOMES,
        "version": xxh3_64_hexdigest(b"".join(one.read_bytes() for one in sorted(STATIC.iterdir())))[:8],
    }
    return found


def page(request: Request, template: str, **values: Any) -> HTMLResponse:
    """Return a page.

    Args:
        request: the request; the pages' own address comes from it, also behind a proxy.
        template: the file.
        values: ``title``, ``crumbs`` (links to where the page is), and what the template shows.
    """
    text = _templates().get_template(template).render(base=base_of(request), live=values.pop("live", None), **values)
    return HTMLResponse(text.encode("utf-8", "replace"))


def base_of(request: Request) -> str:
    """Return the path of the pages, as a browser writes it."""
    return str(request.scope.get("root_path") or "").rstrip("/")
