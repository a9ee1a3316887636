"""Turns: how many pages and downloads one process serves at once, so that threads are left for Airflow.

A page holds a thread of the API server, which has forty in all. A request that waits for its turn holds none.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import sha256

from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from fastapi import Request, Response
from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLL = 0.02


class Turns:
    """Counts what goes on.

    Args:
        at_once: how many turns there are.
        each: how many of these one sign-in may have.
        in_line: how many requests may wait.
        patience: seconds that a request waits at most.
    """

    def __init__(self, at_once: int, each: int, in_line: int = 64, patience: float = 5.0) -> None:
        self.at_once = at_once
        self.each = each
        self.in_line = in_line
        self.patience = patience
        self._lock = threading.Lock()
        self._held = Counter[str]()
        self._waiting = 0

    async def take(self, who: str) -> int:
        """Wait for a turn; return 0 for one, else the status of a refusal: 429 of a sign-in's too many, 503 of everybody's."""
        if not (refused := self._try(who)) or self._waiting >= self.in_line:
            return refused
        self._waiting += 1
        try:
            ends = time.monotonic() + self.patience
            while refused and time.monotonic() < ends:
                await asyncio.sleep(_POLL)
                refused = self._try(who)
            return refused
        finally:
            self._waiting -= 1

    def _try(self, who: str) -> int:
        with self._lock:
            refused = 429 if self._held[who] >= self.each else 503 if self._held.total() >= self.at_once else 0
            self._held[who] += not refused
            return refused

    def give_back(self, who: str) -> None:
        """End a turn."""
        with self._lock:
            self._held[who] -= 1
            self._held += Counter()  # forgets sign-ins without a turn


PAGES, DOWNLOADS = Turns(at_once=8, each=4), Turns(at_once=6, each=3)
"""Of this process. A download lasts as long as its reader is slow, and takes no page's turn."""
_DOWNLOAD = re.compile("/artifacts/[0-9a-f]{32}/(download|image)")


class InTurn:
    """Serves a request at its turn. A page's lasts until the server has the answer, a download's until the answer is sent.

    Args:
        app: the application.
        refusal: returns the page of a refusal: of a request, a status, and the seconds to wait.
    """

    def __init__(self, app: ASGIApp, refusal: Callable[[Request, int, int], Response]) -> None:
        self._app = app
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI specifies."""
        path = str(scope.get("path")).removeprefix(str(scope.get("root_path") or ""))
        if scope["type"] != "http" or path.startswith("/static/"):
            await self._app(scope, receive, send)
            return
        request, turns = Request(scope), DOWNLOADS if _DOWNLOAD.fullmatch(path) else PAGES
        who = _sign_in(request)
        if refused := await turns.take(who):
            await self._refusal(request, refused, round(turns.patience))(scope, receive, send)
            return
        with ExitStack() as turn:
            turn.callback(turns.give_back, who)

            async def passed_on(message: Message) -> None:
                if turns is PAGES and message["type"] == "http.response.body" and not message.get("more_body"):
                    turn.close()  # the page is made; the thread is free
                await send(message)

            await self._app(scope, receive, passed_on)


def _sign_in(request: Request) -> str:
    """Return what tells one sign-in from another: the token that Airflow will use, hashed.

    A claim in it could be anybody's. Earlier versions of Airflow prefer a
    cookie that their middleware has verified.
    """
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    if scheme.lower() != "bearer" or not token or getattr(request.state, "user", None) is not None:
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    return sha256(token.encode()).hexdigest()
