"""Code that has changed since a DAG's artifacts were made: plan and report say so, or the run makes the artifacts again."""

from __future__ import annotations

import pytest
from harness.repositories import git, repository

from airflow_kart import KartDag, KartTaskGroup
from airflow_kart.artifacts.sidecar.repository import repository_of
from airflow_kart.exceptions import BindingError

SOURCE = """
from __future__ import annotations
from airflow_kart import *

def doubled(value):
    return value * 2

class Made(TaskOnKart[int]):
    def run(self):
        self.dump(doubled(1))

class Other(TaskOnKart[int]):
    def run(self):
        self.dump(1)

class Top(TaskOnKart[int]):
    def requires(self):
        return [Made(), Other()]
    def run(self):
        self.dump(sum(self.load()))
"""
EDITED = SOURCE.replace("value * 2", "value * 2 + 1")
CHANGED = "Top is cached, but the code of Made, which went into Top, has changed since: doubled (1 of 2 parts)"


@pytest.mark.parametrize("plan", [True, False], ids=["plan", "no plan"])
def test_a_run_says_what_it_reuses_or_makes_it_again(run_dag, load_module, capsys, plan):
    def dag(source, **options):
        return KartDag("changed", load_module(source).Top(), schedule=None, plan=plan, **options)

    run_dag(dag(SOURCE))
    capsys.readouterr()
    warm = run_dag(dag(EDITED))
    assert warm.outcomes()["ran"] == []
    assert "the code of Made, upstream, has changed since" in warm.xcom("report", "report")["why"]["top"]
    if plan:
        assert warm.xcom("plan", "changed_code") == warm.xcom("report", "report")["changed_code"] == [CHANGED]
        assert capsys.readouterr().out.count(CHANGED) == 2  # once in the plan, once in the report
    again = run_dag(dag(EDITED, on_changed_code="rerun"))
    assert again.outcomes()["ran"] == ["made", "top"]
    assert again.outcomes()["cached"] == ["other"]
    assert run_dag(dag(EDITED, on_changed_code="rerun")).outcomes()["ran"] == []
    quiet = run_dag(dag(SOURCE, on_changed_code="ignore"))
    assert "changed since" not in str(quiet.xcom("report", "report"))


def test_artifacts_of_another_repository_are_said(run_dag, load_module, tmp_path, capsys):
    def dag():
        repository_of.cache_clear()  # as in another process
        return KartDag("elsewhere", load_module(SOURCE).Top(), schedule=None, on_changed_code="ignore")

    repository(tmp_path, "git@github.com:team-a/churn.git", SOURCE)
    run_dag(dag())
    git(tmp_path, "remote", "set-url", "origin", "https://github.com/team-b/churn.git")
    capsys.readouterr()
    warm = run_dag(dag())
    assert warm.outcomes()["ran"] == []
    line = (
        "Top is cached, but its artifacts were made from another repository: github.com/team-a/churn "
        "(here: github.com/team-b/churn); give each project a [kart] namespace"
    )
    assert warm.xcom("plan", "changed_code") == warm.xcom("report", "report")["changed_code"] == [line]
    told = capsys.readouterr().out
    assert told.count(line) == 2  # once in the plan, once in the report
    assert "kart_rerun makes these again" not in told


def test_an_unknown_word_is_an_import_error(load_module):
    with pytest.raises(BindingError, match="on_changed_code is 'shout'; use warn, rerun or ignore"):
        KartDag("changed_word", load_module(SOURCE).Top(), schedule=None, on_changed_code="shout")  # type: ignore[arg-type]


def test_a_group_has_the_argument_too(load_module):
    with KartDag("changed_group", load_module(SOURCE).Other(), schedule=None) as dag:
        KartTaskGroup("inner", load_module(SOURCE).Top(), on_changed_code="rerun", workspace="elsewhere")
    fields = {task_id: vars(task)["workspace"] for task_id, task in dag.task_dict.items()}
    assert fields["inner.plan"] == fields["inner.top"] == {"directory": "elsewhere", "on_changed_code": "rerun"}
    assert fields["plan"] is None
