"""The pages in Airflow's own web application, as users of a real auth manager get them."""

from __future__ import annotations

import html
import re
import warnings
from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from starlette.routing import Mount

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer ones prefer a library that older versions of Airflow do not bring along
    from starlette.testclient import TestClient

__all__ = ["ByDag", "Pages", "text_of"]


class ByDag(SimpleAuthManager):
    """Users named ``only-<DAG>`` may read that DAG and no other."""

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        _, only, dag_id = user.username.partition("only-")
        if only:
            return method == "GET" and details is not None and details.id == dag_id
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)


class Pages:
    """Airflow's application with the pages; made once for a file of tests."""

    def __init__(self, monkeypatch: Any) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "harness.pages.ByDag")
        monkeypatch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "a secret of tests that is long enough for every algorithm of tokens"
        )
        from airflow.api_fastapi.app import create_app

        from airflow_kart.plugin.airflow_plugin import KartPages

        self.app = create_app("core")
        routes = self.app.router.routes
        if not any(isinstance(one, Mount) and one.path == "/kart" for one in routes):  # a checkout that is not installed
            routes.insert(0, Mount("/kart", KartPages()))

    def of(self, name: str | None, role: str = "viewer") -> TestClient:
        """Return a browser in which a user is signed in; nobody for no name."""
        from airflow.api_fastapi.app import get_auth_manager

        client = TestClient(self.app)
        if name is not None:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
            client.headers["Authorization"] = f"Bearer {token}"
        return client


def text_of(page: str) -> str:
    """Return what a reader sees of a page."""
    body = re.sub(r"<(script|style|noscript)\b.*?</\1>|<svg\b.*?</svg>|<!--.*?-->", "", page, flags=re.DOTALL)
    without = re.sub(r"<wbr>|</?(?:bdi|b|s|strong|code)\b[^>]*>", "", body)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", without)).split())
