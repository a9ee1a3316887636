"""The plugin by which Airflow finds the pages. Each process of Airflow imports this module, so that nothing heavy may be here."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowPlugin, conf

_PREFIX = "/kart"


class KartPages:
    """The application, made when a browser first asks for a page."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer a request, as ASGI specifies."""
        await _application()({**scope, "kart.airflow": scope.get("app")}, receive, send)


@functools.cache
def _application() -> Any:
    from airflow_kart.plugin.app import make_app

    return make_app()


def _view(destination: str, route: str, path: str, name: str = "Kart") -> dict[str, str]:
    """Return a tab of Airflow's UI, or an entry in the navigation."""
    below = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return {"name": name, "destination": destination, "url_route": route, "href": f"{below}{_PREFIX}{path}"}


class KartPlugin(AirflowPlugin):
    """Adds the pages, and the tabs that show them."""

    name = "kart"
    fastapi_apps = [{"app": KartPages(), "url_prefix": _PREFIX, "name": "kart"}]  # noqa: RUF012 - Airflow's attributes
    external_views = [  # noqa: RUF012
        _view("nav", "kart", "/"),
        _view("dag", "kart_dag", "/dags/{DAG_ID}"),
        _view("dag_run", "kart_run", "/dags/{DAG_ID}/runs/{RUN_ID}"),
        _view("task_instance", "kart_task", "/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}?map_index={MAP_INDEX}"),
    ]
