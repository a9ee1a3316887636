"""Changed lines of code for a page: git tells them in the repositories of DAG files, to users who may read the DAGs' code."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_kart.artifacts.sidecar.repository import OF_BUNDLE
from airflow_kart.audit.changed_lines import ChangedLines
from airflow_kart.plugin.access import Reader

_PATIENCE = 3.0
"""Seconds of git for a page."""


def changed_lines_for(reader: Reader, *dag_ids: str | None) -> ChangedLines:
    """Return who tells changed lines of code in the repositories that the files of some DAGs are in.

    A sidecar may name any folder, whose git configuration would be its owner's. The files of DAGs are Airflow's word.
    """
    asked = [one for one in {*dag_ids} if one is not None and reader.may(one, DagAccessEntity.CODE)]
    with create_session() as session:
        files = session.scalars(select(DagModel.fileloc).where(DagModel.dag_id.in_(asked))).all() if asked else []
    return ChangedLines(list(_roots(files)), _PATIENCE)


def _roots(files: Collection[str | None]) -> Iterator[str]:
    for file in filter(None, files):
        of_bundle = OF_BUNDLE.fullmatch(str(Path(file).parent))
        inside = [str(one) for one in Path(file).parents if one.joinpath(".git").exists()][:1]
        yield from [f"{of_bundle[1]}/versions"] if of_bundle else inside
