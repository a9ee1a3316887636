"""Artifacts in a bucket whose every text is somebody's who wishes the reader ill, and a task that fails with such an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd

from airflow_kart import DictParameter, KartDag, StrParameter, Target, TaskOnKart, Workspace

EVIL = "\"'><script>evil=1</script><img src=//evil.example onerror=evil=1>"
SVG = "{http://www.w3.org/2000/svg}"


class Hostile(TaskOnKart[Any]):
    text: str = StrParameter()
    options: Mapping[str, Any] = DictParameter(default={EVIL: EVIL})

    def output(self) -> dict[str, Target]:
        return {name: self.make_target(f"hostile/{name}") for name in ("table.parquet", "page.txt", "drawing.xml")}

    def run(self) -> None:
        logging.getLogger(__name__).warning("%s in the log", EVIL)
        self.task_log[EVIL] = EVIL
        self.dump(pd.DataFrame({EVIL: [EVIL, f"</td>{EVIL}", EVIL], "number": [1, 2, 3]}), "table.parquet")
        self.dump(f"<!doctype html><html><body onload=evil=1>{EVIL}", "page.txt")
        svg = ET.Element(f"{SVG}svg", {"onload": "evil=1"})
        ET.SubElement(svg, f"{SVG}script").text = "evil=1"
        self.dump(svg, "drawing.xml")


class Cursed(TaskOnKart[int]):
    text: str = StrParameter()

    def requires(self) -> Hostile:
        return Hostile(text=self.text)

    def run(self) -> None:
        raise RuntimeError(f"{EVIL} in the error")


class Doomed(TaskOnKart[int]):
    text: str = StrParameter()

    def requires(self) -> Cursed:
        return Cursed(text=self.text)

    def run(self) -> None:
        self.dump(1)


KartDag(
    "hostile",
    Doomed,
    schedule=None,
    bind={"text": "{{ dag_run.conf['text'] }}"},
    workspace=Workspace("s3://kart/hostile", aws_conn_id="kart_s3"),
)
