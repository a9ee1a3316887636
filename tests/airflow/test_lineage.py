"""Events of OpenLineage, as Airflow's provider writes them to a file, of a run without a line of a user's own."""

from __future__ import annotations

import datetime as dt
import json

import jsonschema
import pandas as pd
import pytest
from airflow.sdk import DAG

from airflow_kart import DateParameter, KartDag, KartOperator, Parameter, ParameterVisibility, TaskOnKart

URI = {"type": "string", "format": "uri", "pattern": "^https?://"}
TEXT = {"type": "string", "minLength": 1}


def facet(required=(), **properties):
    """The schema of a facet: the specification's base facet, and its own properties."""
    base = {"_producer": URI, "_schemaURL": URI}
    return {"type": "object", "required": [*base, *required], "properties": {**base, **properties}}


def dataset(**more):
    fields = {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": TEXT, "type": TEXT}}}
    known = {
        "schema": facet(["fields"], fields=fields),
        "version": facet(["datasetVersion"], datasetVersion=TEXT),
        "storage": facet(["storageLayer"], storageLayer=TEXT, fileFormat=TEXT),
    }
    facets = {"type": "object", "properties": known, "additionalProperties": facet()}
    return {
        "type": "object",
        "required": ["namespace", "name"],
        "properties": {"namespace": TEXT, "name": TEXT, "facets": facets, **more},
    }


NUMBER = {"type": "integer", "minimum": 0}
STATISTICS = {
    "type": "object",
    "properties": {"outputStatistics": facet(rowCount=NUMBER, size=NUMBER)},
    "additionalProperties": facet(),
}
FACETS = {"type": "object", "additionalProperties": facet()}
RUN_EVENT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["eventTime", "producer", "schemaURL", "run", "job"],
    "properties": {
        "eventTime": {"type": "string", "format": "date-time"},
        "eventType": {"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
        "producer": URI,
        "schemaURL": URI,
        "run": {
            "type": "object",
            "required": ["runId"],
            "properties": {"runId": {"type": "string", "format": "uuid"}, "facets": FACETS},
        },
        "job": {
            "type": "object",
            "required": ["namespace", "name"],
            "properties": {"namespace": TEXT, "name": TEXT, "facets": FACETS},
        },
        "inputs": {"type": "array", "items": dataset()},
        "outputs": {"type": "array", "items": dataset(outputFacets=STATISTICS)},
    },
}
"""The parts of the specification (https://openlineage.io/spec/2-0-2/OpenLineage.json) that the events use."""


class Raw(TaskOnKart[pd.DataFrame]):
    day: dt.date = DateParameter()

    def output(self):
        return self.make_target("raw.csv")

    def run(self):
        self.dump(pd.DataFrame({"town": ["Lyon", "Nice"], "people": [5, 3]}))


class People(TaskOnKart[int]):
    day: dt.date = DateParameter(default=dt.date(2024, 5, 6))
    password: str = Parameter(default="hunter22", visibility=ParameterVisibility.PRIVATE, significant=False)

    def requires(self):
        return Raw(day=self.day)

    def run(self):
        self.dump(int(self.load()["people"].sum()))


class Broken(People):
    def run(self):
        raise RuntimeError("no")


@pytest.fixture
def emitted(tmp_path, monkeypatch):
    """The provider's listener, with a file for its transport; returns the events of a DAG's tasks, the oldest first."""
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins import listener as provider

    try:
        from airflow.sdk.listener import get_listener_manager
    except ImportError:  # Airflow 3.1
        from airflow.listeners.listener import get_listener_manager  # type: ignore[assignment]

    file = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    for cached in vars(conf).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    listener, manager = provider.OpenLineageListener(), get_listener_manager()
    manager.pm.register(listener)

    def events(dag_id):
        found = [json.loads(line) for line in file.read_text().splitlines()]
        return [event for event in found if event["job"]["name"].startswith(f"{dag_id}.")]

    yield events
    manager.pm.unregister(listener)
    monkeypatch.undo()
    for cached in vars(conf).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


def test_events_name_inputs_outputs_versions_and_schemas(run_dag, emitted):
    run_dag(KartDag("lineage", People(), schedule=None, on_cached="success"))
    with DAG("lineage_broken", schedule=None) as broken:
        KartOperator(task_id="broken", task=Broken())
    run_dag(broken)
    events = [*emitted("lineage"), *emitted("lineage_broken")]
    validator = jsonschema.Draft202012Validator(RUN_EVENT, format_checker=jsonschema.FormatChecker())
    for event in events:
        validator.validate(event)
    assert "hunter22" not in json.dumps(events)
    of = {(event["job"]["name"], event["eventType"]): event for event in events}

    raw, people = Raw(day=dt.date(2024, 5, 6)), People()
    began, ended, failed = (
        of[name, kind]
        for name, kind in [("lineage.people", "START"), ("lineage.people", "COMPLETE"), ("lineage_broken.broken", "FAIL")]
    )
    (read,), (written,) = ended["inputs"], ended["outputs"]
    assert (read["namespace"], read["name"]) == ("file", raw.output().uri)
    assert read["facets"]["version"]["datasetVersion"] == raw.output().sidecar().artifact.sha256
    columns = {field["name"]: field["type"] for field in read["facets"]["schema"]["fields"]}
    assert columns == raw.output().sidecar().artifact.columns
    assert (written["namespace"], written["name"]) == ("file", people.output().uri)
    assert written["facets"]["version"]["datasetVersion"] == people.output().sidecar().artifact.sha256
    assert written["facets"]["storage"]["storageLayer"] == "file"
    (made,) = of["lineage.raw", "COMPLETE"]["outputs"]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 2
    about = ended["run"]["facets"]["kart"]
    assert about["uniqueId"] == people.unique_id
    assert about["outcome"] == "ran"
    assert about["parameters"] == {"day": "2024-05-06"}
    for event in (began, failed):
        assert event["inputs"]
        assert "version" not in event["outputs"][0].get("facets", {})
        assert "outcome" not in event["run"]["facets"]["kart"]


def test_datasets_are_named_as_the_specification_says():
    from airflow_kart.operators.openlineage import dataset_name

    assert dataset_name("/srv/kart/a b.csv") == ("file", "/srv/kart/a b.csv")
    assert dataset_name("file:///srv/kart/a.csv") == ("file", "/srv/kart/a.csv")
    assert dataset_name("s3://shop/ws/a.csv") == ("s3://shop", "ws/a.csv")
    assert dataset_name("gcs://shop/ws/a.csv") == ("gs://shop", "ws/a.csv")
    assert dataset_name("abfss://c@shop.dfs.core.windows.net/ws/a.csv") == (
        "abfss://c@shop.dfs.core.windows.net",
        "ws/a.csv",
    )
