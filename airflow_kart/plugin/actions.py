"""What a user may do on the pages. Airflow's own API does it, in this process, with the user's own token: it checks and logs."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from airflow_kart.plugin.access import ReaderDep, reads_dag
from airflow_kart.plugin.airflow_runs import UNDER_WAY, conf_of, states_of
from airflow_kart.plugin.page import AIRFLOW, base_of
from airflow_kart.plugin.words import cut, run_href

_CREDENTIALS = ("authorization", "cookie")


def own_page(request: Request) -> None:
    """Require that a form of these pages was sent: pages of other sites must not act by a user's cookie.

    Raises:
        HTTPException: the form came from elsewhere (403).
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in (None, "same-origin") or (site is None and origin and urlsplit(origin).netloc != request.url.netloc):
        raise HTTPException(403, "This form was sent from another site.")


router = APIRouter(dependencies=[Depends(own_page), *reads_dag(DagAccessEntity.RUN)])


@router.post("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/again")
async def again(  # noqa: PLR0917 - FastAPI fills these by name
    request: Request,
    reader: ReaderDep,
    dag_id: str,
    run_id: str,
    task_id: str,
    downstream: bool = False,
    map_index: int = -1,
) -> RedirectResponse:
    """Clear a task instance, and perhaps everything downstream, so that these run again.

    Raises:
        HTTPException: the task runs already, or soon (409), or the run has no such task instance (404).
    """
    _require(await run_in_threadpool(reader.may, dag_id, DagAccessEntity.TASK_INSTANCE, "PUT"))
    if await run_in_threadpool(states_of, dag_id, run_id, task_id, map_index) & UNDER_WAY:
        raise HTTPException(409, f"{cut(task_id)} is being made in this run already; wait until it has ended.")
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": [task_id if map_index < 0 else [task_id, map_index]],
        "include_downstream": downstream,
        "only_failed": False,
        "reset_dag_runs": True,
    }
    cleared = await _ask(request, f"/api/v2/dags/{quote(dag_id, safe='')}/clearTaskInstances", body)
    if not cleared["task_instances"]:
        raise HTTPException(404, f"The run has no task instance of {cut(task_id)} to clear.")
    return RedirectResponse(run_href(base_of(request), dag_id, run_id), 303)


@router.post("/dags/{dag_id}/runs/{run_id}/trigger")
async def trigger(request: Request, reader: ReaderDep, dag_id: str, run_id: str) -> RedirectResponse:
    """Trigger a run with the parameters of another one."""
    _require(await run_in_threadpool(reader.may, dag_id, DagAccessEntity.RUN, "POST"))
    body = {"logical_date": None, "conf": await run_in_threadpool(conf_of, dag_id, run_id)}
    made = await _ask(request, f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns", body)
    return RedirectResponse(run_href(base_of(request), dag_id, str(made["dag_run_id"])), 303)


async def _ask(request: Request, path: str, body: dict[str, Any]) -> Any:
    """Return what Airflow's API answers to the user.

    Raises:
        HTTPException: Airflow refuses.
    """
    headers = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
    transport = httpx.ASGITransport(app=request.scope[AIRFLOW])
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url)) as client:
        answer = await client.post(path, json=body, headers=headers)
    if answer.is_error:
        raise HTTPException(answer.status_code, f"Airflow refuses: {answer.text[:500]}")
    return answer.json()


def _require(permission: bool) -> None:
    if not permission:
        raise HTTPException(403, "Airflow's permissions do not let you do this.")
