"""Private values reach neither the serialized DAG, nor rendered fields, nor Airflow's view of its configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.sdk import DAG
from airflow.sdk.log import mask_secret
from airflow.utils.session import create_session
from harness.pipeline import Noted
from sqlalchemy import select

from airflow_kart import (
    IntParameter,
    KartDag,
    KartOperator,
    KartTaskGroup,
    ParameterVisibility,
    StrParameter,
    TaskInstanceParameter,
)
from airflow_kart.exceptions import BindingError
from airflow_kart.get_provider_info import get_provider_info

CANARY = "canary-4711"


class Charge(Noted):
    pin: str = StrParameter(visibility=ParameterVisibility.PRIVATE, significant=False)
    customer: str = StrParameter(default="one")

    def run(self):
        assert self.pin == CANARY
        super().run()


class Hidden(Noted):
    public: int = IntParameter(default=1)
    insignificant: int = IntParameter(default=2, significant=False)
    hidden: int = IntParameter(default=3, visibility=ParameterVisibility.HIDDEN)
    private: str = StrParameter(default="p", visibility=ParameterVisibility.PRIVATE, significant=False)
    held: Noted = TaskInstanceParameter(default=Noted())


def test_what_a_process_logs_is_masked_whatever_writes_it():
    KartOperator(task_id="masks", task=Noted(), dag=DAG("private_log", schedule=None)).render_template_fields({})
    before = list(structlog.get_config()["processors"])
    KartOperator(task_id="again", task=Noted(), dag=DAG("private_log_again", schedule=None)).render_template_fields({})
    assert structlog.get_config()["processors"] == before
    mask_secret("canary-of-the-log")
    event: Any = {"event": "uses canary-of-the-log", "deep": [{"in": "canary-of-the-log"}], "level": "info"}
    try:
        raise ValueError("caught with canary-of-the-log")
    except ValueError as error:
        event["exc_info"] = error
    for processor in before[before.index(structlog.processors.format_exc_info) : -1]:
        event = processor(None, "info", event)
    assert event["event"] == "uses ***"
    assert "ValueError: caught with ***" in event["exception"]
    assert "canary-of-the-log" not in str(event)


def test_the_form_offers_nothing_but_significant_public_values():
    assert set(KartDag("private_form", Hidden(), schedule=None).params) == {"public", "kart_rerun"}
    assert set(KartDag("private_form_class", Hidden, schedule=None).params) == {"public", "kart_rerun"}
    with DAG("private_form_group", schedule=None) as dag:
        KartTaskGroup("group", Hidden())
    assert set(dag.params) == {"public", "kart_rerun"}


@pytest.mark.parametrize(
    "make",
    [
        lambda bind: KartDag("private_literal", Charge, bind=bind, schedule=None),
        lambda bind: KartOperator(task_id="private_literal", task=Charge(pin="x"), bind=bind),
    ],
    ids=["dag", "operator"],
)
def test_a_value_cannot_be_bound_to_a_private_parameter(make):
    with pytest.raises(BindingError, match=r"bind\['pin'\] is a value, and Charge\.pin is private") as error:
        make({"pin": CANARY})
    assert "{{ var.value.pin }}" in str(error.value)
    assert "[kart.Charge]" in str(error.value)
    assert CANARY not in str(error.value)
    assert error.value.parameter == "pin"


@pytest.mark.parametrize("plan", [True, False])
def test_a_private_value_reaches_run_and_no_rendered_field(run_dag, monkeypatch, plan):
    monkeypatch.setenv("AIRFLOW_VAR_PLAIN", CANARY)  # a name that Airflow does not mask by itself
    template = {"pin": "{{ var.value.plain }}", "customer": "{{ var.value.plain | length }}"}
    dag = KartDag(f"private_rendered_{plan}", Charge, bind=template, schedule=None, plan=plan)
    run = run_dag(dag)
    assert run.outcomes()["ran"] == ["charge"]
    with create_session() as session:
        rows = session.scalars(
            select(RenderedTaskInstanceFields).where(RenderedTaskInstanceFields.dag_id == dag.dag_id)
        ).all()
        fields = {row.task_id: row.rendered_fields for row in rows}
    assert set(fields) == set(dag.task_ids)
    for rendered in fields.values():
        assert rendered["bind"] == {"pin": "***", "customer": str(len(CANARY))}
    assert CANARY not in json.dumps(fields)


def test_options_of_task_classes_are_declared_sensitive(tmp_path, monkeypatch):
    (tmp_path / "airflow.cfg").write_text("[kart]\nfsync = True\n[kart.shop.Charge]\nPin = 1234\ntoken\n[core]\nx = 1\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__KART_CHARGE__PIN", "1234")
    declared = get_provider_info()["config"]
    assert {section: set(content["options"]) for section, content in declared.items() if section != "kart"} == {
        "kart.shop.Charge": {"pin", "token"},
        "kart_charge": {"pin"},
    }
    assert all(
        option["sensitive"]
        for section, content in declared.items()
        if section != "kart"
        for option in content["options"].values()
    )


@pytest.mark.parametrize("written", [b"[kart.A\nx = 1", b"\xff[kart.A]", None])
def test_a_configuration_that_cannot_be_read_declares_nothing(tmp_path, monkeypatch, written):
    if written is not None:
        (tmp_path / "airflow.cfg").write_bytes(written)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    assert set(get_provider_info()["config"]) == {"kart"}


def test_airflow_hides_options_of_task_classes(tmp_path):
    (tmp_path / "airflow.cfg").write_text(f"[kart]\nprivate_digest_key = {CANARY}-key\n[kart.Charge]\npin = {CANARY}-file\n")
    code = """
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
print(conf.as_dict(display_source=True, display_sensitive=False, raw=True))
"""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__KART_CHARGE__PIN": f"{CANARY}-environment"}
    shown = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=Path.cwd(),
    ).stdout
    assert "kart.Charge" in shown
    assert CANARY not in shown
