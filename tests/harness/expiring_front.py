"""A front of a service whose tokens expire early: S3's session tokens, which STS gives, and Google's access tokens.

It answers what S3 and Google Cloud Storage answer; to HEAD S3 gives a status without a word. How many requests a token is
good for is told by the rules: those of ``Rule("token", times=n)``, each for the next token that is seen, and the last one
for all that follow. ``Rule("given", times=n)`` says how often a token is given at a path that fits before that is refused,
and ``seconds`` for how long it says STS's are good. At ``/facts`` it tells how often each token was used.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
from typing import ClassVar

from harness import http_proxy

Answer = tuple[int, dict[str, str], bytes]
_XML, _JSON = {"Content-Type": "text/xml"}, {"Content-Type": "application/json"}
_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
_DENIED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole"
    b"</Message></Error></ErrorResponse>"
)
_UNTIL = re.compile(rb"(<Expiration>).*?(</Expiration>)")


class _Front(http_proxy.Handler):
    turn: ClassVar[threading.Lock] = threading.Lock()
    seen: ClassVar[dict[str, int]] = {}
    given: ClassVar[dict[str, int]] = {}

    def ask(self, body: bytes) -> Answer:
        if self.path == "/facts":
            return 200, _JSON, json.dumps(self.seen).encode()
        if self.path.endswith("/token"):
            return self._google_token()
        authorization = self.headers.get("Authorization", "")
        if "/sts/" in authorization:
            return self._assumed_role(body)
        token = self.headers.get("X-Amz-Security-Token") or authorization.partition("Bearer ")[2]
        if not token or self._is_good(token):
            return super().ask(body)
        if "X-Amz-Security-Token" in self.headers:
            return 400, _XML, b"" if self.command == "HEAD" else _EXPIRED
        return 401, _JSON, b'{"error": {"code": 401, "message": "Invalid Credentials"}}'

    def _rule(self) -> None:
        """Leave the requests alone: the rules are for tokens."""

    def _is_good(self, token: str) -> bool:
        lasts = [rule.times for rule in self.rules if rule.do == "token"]
        with self.turn:
            number = list(self.seen).index(token) if token in self.seen else len(self.seen)
            self.seen[token] = self.seen.get(token, 0) + 1
            return self.seen[token] <= lasts[min(number, len(lasts) - 1)]

    def _is_given(self) -> bool:
        with self.turn:
            self.given[self.path] = self.given.get(self.path, 0) + 1
            limits = [rule.times for rule in self.rules if rule.do == "given" and re.fullmatch(rule.path, self.path)]
            return all(self.given[self.path] <= limit for limit in limits)

    def _google_token(self) -> Answer:
        if not self._is_given():
            return 400, _JSON, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
        token = f"token {self.path} {self.given[self.path]}".replace(" ", "-").replace("/", "-")
        return 200, _JSON, json.dumps({"access_token": token, "expires_in": 3600, "token_type": "Bearer"}).encode()

    def _assumed_role(self, body: bytes) -> Answer:
        if not self._is_given():
            return 403, _XML, _DENIED
        status, headers, data = super().ask(body)
        seconds = max((rule.seconds for rule in self.rules), default=0.0)
        if seconds:
            until = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)
            data = _UNTIL.sub(rb"\g<1>" + until.strftime("%Y-%m-%dT%H:%M:%SZ").encode() + rb"\2", data)
        return status, headers, data


if __name__ == "__main__":
    http_proxy.told_to(_Front)
