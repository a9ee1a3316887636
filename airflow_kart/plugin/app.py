"""The application: routes, static files, headers, and pages of errors."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from airflow.api_fastapi.app import get_auth_manager
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles

from airflow_kart.exceptions import KartError
from airflow_kart.plugin import actions, artifact, dag, run, search, task, why
from airflow_kart.plugin.page import STATIC, page
from airflow_kart.plugin.turns import InTurn
from airflow_kart.plugin.words import clean

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WORDS = {
    401: "Nobody is signed in",
    403: "You may not see this",
    404: "There is nothing to show here",
    429: "You ask for too many pages at once",
    503: "Too many pages are asked for at once",
}
_TOLD = {
    "Not authenticated": "Airflow shows this page to users who have signed in.",
    "Forbidden": "Your account in Airflow lacks the permission for this page; an administrator of Airflow can grant it.",
}
"""In place of Airflow's own words, which say no more than the heading."""

logger = logging.getLogger(__name__)


@cache
def make_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Kart", docs_url=None, redoc_url=None, openapi_url=None)
    for router in (actions.router, artifact.router, dag.router, run.router, search.router, task.router, why.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(InTurn, refusal=_busy)
    app.middleware("http")(_guarded)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Answer with headers that let a page load nothing from elsewhere, and with a page in place of a stack trace."""
    try:
        answer = await call_next(request)
    except KartError as error:
        answer = error_page(request, 502, "The workspace did not answer", str(error))
    except Exception:
        logger.exception("the page %s failed", request.url.path)
        answer = error_page(request, 500, "This page failed", "The log of the API server says why.")
    headers = _HEADERS
    if "/static/" in request.url.path and answer.status_code == HTTPStatus.OK:
        headers = {**_HEADERS, "Cache-Control": "max-age=300"}
    for name, text in headers.items():
        answer.headers.setdefault(name, text)
    return answer


def _busy(request: Request, status: int, seconds: int) -> Response:
    whose = "Pages or downloads of yours are" if status == HTTPStatus.TOO_MANY_REQUESTS else "Those of others are"
    told = f"{whose} being made, as many as one process of the API server makes at once. Load this one again in {seconds} s."
    return error_page(request, status, _WORDS[status], told, headers={"Retry-After": str(seconds)})


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError):
        return error_page(request, 422, "This address cannot be understood", "A part of it has a wrong form.")
    assert isinstance(error, StarletteHTTPException)
    told = error.detail if isinstance(error, HTTPException) and isinstance(error.detail, str) else ""
    told = _TOLD.get(told, told)
    words = _WORDS.get(error.status_code, HTTPStatus(error.status_code).phrase)
    return error_page(request, error.status_code, words, told, headers=error.headers)


def error_page(request: Request, status: int, words: str, told: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a page that says what went wrong; the store's own words are folded."""
    first, _, more = clean(told).partition("\n")
    login = _login(request) if status == HTTPStatus.UNAUTHORIZED else None
    answer = page(request, "error.html", title=words, words=words, told=first, more=more[:5000], login=login, crumbs=[])
    answer.status_code = status
    answer.headers.update(headers or {})
    return answer


def _login(request: Request) -> str:
    """Return where Airflow lets a person sign in; from there a browser comes back to the page that was asked for."""
    login: Any = get_auth_manager().get_url_login()
    asked = f"?{request.url.query}" if request.url.query else ""
    return f"{login}?{urlencode({'next': quote(request.scope['path']) + asked})}" if request.method == "GET" else str(login)
