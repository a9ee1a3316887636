"""The package as Airflow sees it: a provider with configuration."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path

import airflow
import jsonschema
from airflow.providers_manager import ProvidersManager

import airflow_kart
from airflow_kart.get_provider_info import get_provider_info


def test_airflow_finds_the_provider():
    assert ProvidersManager().providers["airflow-kart"].version == importlib.metadata.version("airflow-kart")


def test_the_provider_info_fits_airflows_schema():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_provider_page_has_all_that_the_package_adds():
    provider = ProvidersManager().providers["airflow-kart"].data
    assert str(provider["documentation-url"]).startswith("https://")
    package = Path(airflow_kart.__file__).parent
    for kind in ("operators", "triggers"):
        (entry,) = provider[kind]
        assert entry["integration-name"] == provider["integrations"][0]["integration-name"]
        for module in entry["python-modules"]:
            importlib.import_module(module)
    trigger_modules = {f"airflow_kart.triggers.{file.stem}" for file in (package / "triggers").glob("*.py")}
    listed = set(provider["triggers"][0]["python-modules"])
    assert {name for name in trigger_modules if any(map(_is_trigger, _own_classes(name)))} == listed


def _own_classes(name):
    return [found for found in vars(importlib.import_module(name)).values() if getattr(found, "__module__", None) == name]


def _is_trigger(found):
    from airflow.triggers.base import BaseTrigger

    return isinstance(found, type) and issubclass(found, BaseTrigger) and "serialize" in vars(found)


def test_neither_airflow_nor_python_has_an_upper_bound():
    bounds = [importlib.metadata.metadata("airflow-kart")["Requires-Python"]]
    bounds += [line for line in importlib.metadata.requires("airflow-kart") or [] if line.startswith("apache-airflow")]
    assert not any("<" in bound or "==" in bound for bound in (bound.partition(";")[0] for bound in bounds))


def test_another_minor_version_of_airflow_is_warned_of_once(caplog):
    from airflow_kart.operators.base import TESTED_AIRFLOW, _warn_of_untested_airflow

    assert ".".join(airflow.__version__.split(".")[:2]) in TESTED_AIRFLOW
    _warn_of_untested_airflow.cache_clear()
    for version in (f"{TESTED_AIRFLOW[0]}.9", "3.99.0", "3.99.0", "4.0.0b1"):
        _warn_of_untested_airflow(version)
    assert [record.args[1] for record in caplog.records] == ["3.99.0", "4.0.0b1"]
    _warn_of_untested_airflow.cache_clear()


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
    assert "airflow_kart.operators.link.KartArtifactLink" in ProvidersManager().extra_links_class_names
    link = run.xcom("raw", "_link_KartArtifactLink")
    assert link.startswith("/dags/provider_link/runs/")
    assert link.endswith("/tasks/raw/plugin/kart_task")
    assert run.xcom("raw")["artifacts"][0]["sidecar"].endswith(".pkl.kart.json")
