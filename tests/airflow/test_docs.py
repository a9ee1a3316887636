"""The Python blocks of the README and of the documentation run as they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from airflow import sdk

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, block in enumerate(BLOCK.findall(document.read_text()), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs_as_a_module_and_its_dags_run(load_module, run_dag, block, monkeypatch, tmp_path):
    from airflow.sdk import DAG
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    if "CronPartitionTimetable" in block and not hasattr(sdk, "CronPartitionTimetable"):
        pytest.skip("Airflow 3.1 has no partitions")
    monkeypatch.chdir(tmp_path)  # a block may write files
    DagContext.current_autoregister_module_name = "documented"
    try:
        module = load_module(block, "documented")
    finally:
        DagContext.current_autoregister_module_name = None
    found = {dag for dag, _ in DagContext.autoregistered_dags} | {
        dag for dag in vars(module).values() if isinstance(dag, DAG)
    }
    DagContext.autoregistered_dags.clear()
    assert found or "KartDag(" not in block
    for dag in found:
        if not any(_is_in_a_bucket(task) for task in dag.tasks):  # which nobody here has
            assert run_dag(dag).state == "success"


def _is_in_a_bucket(task):
    workspace = getattr(task, "workspace", None) or {}
    return workspace.get("directory", "").startswith(("s3://", "gs://"))


def test_there_are_blocks_to_run():
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / link).exists(), link
