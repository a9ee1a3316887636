"""The package as Airflow sees it: a provider with configuration."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import airflow
import jsonschema
from airflow.providers_manager import ProvidersManager

from airflow_kart.get_provider_info import get_provider_info


def test_airflow_finds_the_provider():
    assert ProvidersManager().providers["airflow-kart"].version == importlib.metadata.version("airflow-kart")


def test_the_provider_info_fits_airflows_schema():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_knows_the_configuration_section():
    from airflow.configuration import conf

    options = get_provider_info()["config"]["kart"]["options"]
    assert conf.get("kart", "check_threads") == options["check_threads"]["default"]
    assert all(option["description"] for option in options.values())


def test_the_extra_link_is_registered_and_leads_to_the_task(run_dag):
    import datetime as dt

    from harness.pipeline import Raw

    from airflow_kart import KartDag

    run = run_dag(KartDag("provider_link", Raw(day=dt.date(2024, 1, 1)), schedule=None))
    assert "airflow_kart.links.artifact.KartArtifactLink" in ProvidersManager().extra_links_class_names
    link = run.xcom("raw", "_link_KartArtifactLink")
    assert link.startswith("/dags/provider_link/runs/")
    assert link.endswith("/tasks/raw/xcom")
    assert run.xcom("raw")["artifacts"][0]["sidecar"].endswith(".pkl.kart.json")
