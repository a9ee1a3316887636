"""The repository that code is from: a name without secrets in sidecars, and a warning where artifacts are another project's."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.repositories import clone, git, repository

from airflow_kart import Workspace, adopt, build
from airflow_kart.artifacts.sidecar.repository import git_state, is_same, repository_name, repository_of
from airflow_kart.artifacts.sidecar.source import source_of
from airflow_kart.runtime.plan import make_plan
from airflow_kart.runtime.runner import run_task
from airflow_kart.runtime.session import Session
from airflow_kart.tasks.graph import Graph
from airflow_kart.views import tree

PIPELINE = """
from __future__ import annotations
from airflow_kart import IntParameter, TaskOnKart

class Clean(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    def run(self):
        self.dump(self.n)

class Train(TaskOnKart[int]):
    def requires(self):
        return [Clean(n=1), Clean(n=2)]
    def run(self):
        self.dump(sum(self.load()))
"""
HERE = "https://github.com/team-b/churn"
THERE = "https://github.com/team-a/churn"
ELSEWHERE = (
    "is cached, but its artifacts were made from another repository: github.com/team-a/churn (here: github.com/team-b/churn); "
    "give each project a [kart] namespace"
)

OTHER_BUNDLE = "DAG bundle: team_a (here: team_b)"

Load = Callable[..., Any]


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    repository_of.cache_clear()
    git_state.cache_clear()
    yield
    repository_of.cache_clear()
    git_state.cache_clear()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Load the pipeline from a repository of an origin, or from a folder, as another process does."""

    def loaded(origin: str | None = None, folder: Path | None = None, source: str = PIPELINE) -> Any:
        number = len(list(tmp_path.glob("checkout*")))
        folder = folder or repository(tmp_path / f"checkout{number}", origin, source, "elsewhere_pipeline.py")
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop("elsewhere_pipeline", None)
        importlib.invalidate_caches()
        return importlib.import_module("elsewhere_pipeline")

    yield loaded
    sys.modules.pop("elsewhere_pipeline", None)


def sidecar_of(task: Any) -> Any:
    return json.loads(Path(f"{task.output().uri}.kart.json").read_text())


def lines(task: Any, **options: Any) -> list[str]:
    return make_plan(Graph.of([task]), **options).made_elsewhere()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@github.com:team/churn.git", "github.com/team/churn"),
        ("https://github.com/team/churn", "github.com/team/churn"),
        ("https://github.com/team/churn.git/", "github.com/team/churn"),
        ("ssh://git@github.com:22/team/churn.git", "github.com/team/churn"),
        ("git+ssh://github.com/team/churn", "github.com/team/churn"),
        ("https://user:s3cret@git.example.org:8443/a/b/churn.git", "git.example.org/a/b/churn"),
        ("https://s3cret@github.com/Team/Churn.git", "github.com/Team/Churn"),
        ("https://user:s3cr@et@github.com/team/churn", "github.com/team/churn"),
        ("https://user:s3/cr#et?@github.com/team/churn", "github.com/team/churn"),
        ("https://github.com/team/churn?token=s3cret", "github.com/team/churn"),
        ("https://github.com/team/churn.git#s3cret", "github.com/team/churn"),
        ("host:churn.git", "host/churn"),
        ("host:/srv/git/churn.git", "host/srv/git/churn"),
        ("https://github.com", None),
        ("https://user:s3cret@/churn", None),
        ("codecommit::eu-west-1://profile@churn", None),
        ("ssh://git@[::1]:22/team/churn", None),
        ("/srv/git/churn.git", None),
        ("file:///srv/git/churn.git", None),
        ("../churn", None),
        ("~/churn", None),
        ("C:/git/churn", None),
        ("", None),
    ],
)
def test_a_name_is_host_and_path(url: str, name: str | None) -> None:
    assert repository_name(url) == name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("github.com/team/churn", "GitHub.com/Team/churn", True),
        ("github.com/team/churn", "github-of-work/team/churn", True),  # a host's name in ~/.ssh/config
        ("dev.azure.com/org/project/_git/churn", "ssh.dev.azure.com/v3/org/project/churn", True),
        ("bitbucket.example.org/scm/team/churn", "bitbucket.example.org/team/churn", True),
        ("github.com/team/churn", "github.com/alice/churn", False),
        ("github.com/team/churn", "github.com/team/prices", False),
        ("github.com/team/churn", "github.com/team/my-churn", False),
    ],
)
def test_names_of_one_repository(one: str, other: str, same: bool) -> None:
    assert is_same(one, other) == is_same(other, one) == same


class TestRepositoryOf:
    def test_a_checkout_has_the_name_of_its_origin(self, tmp_path: Path) -> None:
        checkout = repository(tmp_path / "checkout", THERE)
        (checkout / "dags").mkdir()
        assert repository_of(str(checkout / "dags")) == repository_of(str(checkout)) == "github.com/team-a/churn"

    def test_a_clone_has_the_name_of_the_repository_that_was_cloned(self, tmp_path: Path) -> None:
        bare = clone(repository(tmp_path / "upstream", None), tmp_path / "bare", "--bare")
        git(bare, "remote", "set-url", "origin", "https://x-access-token:s3cret@github.com/team-a/churn.git")
        tracking = clone(bare, tmp_path / "tracking_repo")
        assert repository_of(str(tracking)) == "github.com/team-a/churn"
        git(tracking, "remote", "set-url", "origin", f"file://{bare}")
        repository_of.cache_clear()
        assert repository_of(str(tracking)) == "github.com/team-a/churn"
        assert repository_of(str(clone(tracking, tmp_path / "third"))) is None

    def test_a_version_of_a_bundle_has_the_name_of_the_bundles_clone(self, tmp_path: Path) -> None:
        repository(tmp_path, HERE)  # a checkout around Airflow's folders
        bundle = tmp_path / "bundles" / "shop"
        bare = clone(repository(tmp_path / "upstream", None), bundle / "bare", "--bare")
        git(bare, "remote", "set-url", "origin", THERE)
        version = clone(bare, bundle / "versions" / git(bare, "rev-parse", "HEAD"))
        assert repository_of(str(version)) == "github.com/team-a/churn"
        shutil.rmtree(version / ".git")  # as Airflow does
        repository_of.cache_clear()
        (version / "dags").mkdir()
        assert repository_of(str(version)) == repository_of(str(version / "dags")) == "github.com/team-a/churn"
        state = {"commit": version.name, "dirty": False, "repository": "github.com/team-a/churn"}
        assert git_state(str(version / "dags")) == state

    def test_a_folder_that_is_only_named_as_a_version_has_the_commit_of_its_checkout(self, tmp_path: Path) -> None:
        checkout = repository(tmp_path, HERE)
        (checkout / "versions" / ("0" * 40)).mkdir(parents=True)
        state = git_state(str(checkout / "versions" / ("0" * 40)))
        assert state is not None
        assert state["commit"] == git(checkout, "rev-parse", "HEAD")
        clone(checkout, checkout / "bare", "--bare")
        git_state.cache_clear()
        assert git_state(str(checkout / "versions" / ("0" * 40))) == state  # no commit of that clone

    @pytest.mark.parametrize(
        ("change", "dirty"),
        [
            (lambda folder: None, False),
            (
                lambda folder: (folder / "code" / "new.py").write_text("new"),
                False,
            ),  # in no commit, as the artifacts beside it
            (lambda folder: (folder / "beside.py").write_text("changed"), False),
            (lambda folder: (folder / "code" / "train.py").write_text("changed"), True),
            (lambda folder: (folder / "code" / "train.py").unlink(), True),
            (lambda folder: git(folder, "mv", "code/train.py", "code/fit.py"), True),
            (lambda folder: git(folder, "checkout", "--detach"), False),
            (lambda folder: git(folder, "config", "status.showStash", "true"), False),
            (lambda folder: git(folder, "config", "color.status", "always"), False),
        ],
    )
    def test_a_folder_is_dirty_where_a_file_in_it_differs_from_the_commit(
        self, tmp_path: Path, change: Callable[[Path], object], dirty: bool
    ) -> None:
        folder = repository(tmp_path / "checkout", HERE)
        (folder / "code").mkdir()
        for name in ("code/train.py", "beside.py"):
            (folder / name).write_text("first\n")
        git(folder, "add", ".")
        git(folder, "commit", "-m", "second")
        (folder / "beside.py").write_text("second")
        git(folder, "stash")
        change(folder)
        expected = {"commit": git(folder, "rev-parse", "HEAD"), "dirty": dirty, "repository": "github.com/team-b/churn"}
        assert git_state(str(folder / "code")) == expected

    def test_a_checkout_whose_files_git_cannot_compare_has_a_commit(self, tmp_path: Path) -> None:
        folder = repository(tmp_path / "checkout", HERE)
        (folder / ".git" / "index").write_text("no index")
        state = git_state(str(folder))
        assert state is not None
        assert (state["commit"], state["dirty"]) == (git(folder, "rev-parse", "HEAD"), None)

    def test_a_git_that_hangs_costs_a_bounded_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = repository(tmp_path / "checkout", HERE)
        hanging = tmp_path / "bin" / "git"
        hanging.parent.mkdir()
        hanging.write_text("#!/bin/sh\nexec sleep 60\n")
        hanging.chmod(0o755)
        monkeypatch.setenv("PATH", str(hanging.parent), prepend=os.pathsep)
        monkeypatch.setattr("airflow_kart.artifacts.sidecar.repository._LONGEST", 0.5)
        started = time.monotonic()
        assert git_state(str(folder)) is None
        assert time.monotonic() - started < 5

    def test_a_folder_without_a_commit_has_no_state(self, tmp_path: Path) -> None:
        git(tmp_path, "init")
        assert git_state(str(tmp_path)) is None
        git_state.cache_clear()
        shutil.rmtree(tmp_path / ".git")
        assert git_state(str(tmp_path)) is None

    def test_nothing_else_has_a_name(self, tmp_path: Path) -> None:
        checkout = repository(tmp_path / "checkout", THERE)
        installed = checkout / ".venv" / "lib" / "site-packages" / "prices"
        installed.mkdir(parents=True)
        assert repository_of(str(installed)) is None
        assert repository_of(str(repository(tmp_path / "no remote", None))) is None
        assert repository_of(str(repository(tmp_path / "gone", str(tmp_path / "not there")))) is None
        assert repository_of(str(tmp_path / "no folder")) is None
        git(checkout, "remote", "remove", "origin")
        repository_of.cache_clear()
        assert repository_of(str(checkout)) is None


@pytest.mark.usefixtures("workspace")
class TestPlan:
    def test_another_repository_is_said_once_per_class(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        theirs = load(THERE.replace("https://", "https://user:s3cret@"))
        build(theirs.Train())
        assert sidecar_of(theirs.Clean())["source"]["git"]["repository"] == "github.com/team-a/churn"
        assert "s3cret" not in "".join(file.read_text() for file in Path(theirs.Clean().output().uri).parent.glob("*.json"))
        mine = load(HERE)
        caplog.clear()
        with Workspace(Workspace.current().directory, on_changed_code="ignore"):
            assert build(mine.Train()) == 3
            assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
                f"Train {ELSEWHERE}"
            ]
            many = {"rerun": [mine.Train().unique_id]}
            assert lines(mine.Train(), **many) == [f"Clean {ELSEWHERE}"]
            assert tree(mine.Train()).count("but it was made from another repository: github.com/team-a/churn") == 3
            assert mine.Clean().complete()

    def test_changed_code_is_said_too(self, load: Load) -> None:
        build(load(THERE).Clean())
        mine = load(HERE, source=PIPELINE.replace("self.dump(self.n)", "self.dump(1 * self.n)"))
        plan = make_plan(Graph.of([mine.Clean()]))
        (changed,) = plan.changed_code()
        assert changed.startswith("Clean is cached, but its code has changed since: ")
        assert plan.made_elsewhere() == [f"Clean {ELSEWHERE}"]
        (planned,) = plan.tasks.values()
        assert planned.reason.endswith(
            "but its code has changed since and it was made from another repository: "
            "github.com/team-a/churn (here: github.com/team-b/churn)"
        )

    @pytest.mark.parametrize(
        ("there", "here"),
        [
            (THERE, "git@github.com:team-a/churn.git"),
            ("ssh://git@github.com:22/Team-A/churn", THERE),
            (THERE, None),
            (None, HERE),
            (None, None),
        ],
    )
    def test_nothing_is_said_of_one_repository_or_an_unknown_one(
        self, load: Load, there: str | None, here: str | None
    ) -> None:
        build(load(there).Train())
        assert lines(load(here).Train()) == []

    def test_nothing_is_said_of_a_clone(self, load: Load, tmp_path: Path) -> None:
        checkout = repository(tmp_path / "upstream", THERE, PIPELINE, "elsewhere_pipeline.py")
        build(load(folder=checkout).Train())
        assert lines(load(folder=clone(checkout, tmp_path / "clone")).Train()) == []

    def test_an_artifact_of_an_earlier_version_tells_nothing(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_kart.artifacts.sidecar.repository.repository_of", lambda _folder: None)
        build(load(THERE).Train())
        monkeypatch.undo()
        assert lines(load(HERE).Train()) == []

    def test_the_latest_maker_counts(self, load: Load) -> None:
        auto = PIPELINE.replace("    n: int", '    code_version = "auto"\n    n: int')
        build(load(THERE, source=auto).Clean())
        edited = auto.replace("self.dump(self.n)", "self.dump(1 * self.n)")
        mine = load(HERE, source=edited)
        adopt(mine.Clean, reason="equal")
        assert lines(mine.Clean()) == []
        assert lines(load(THERE, source=edited).Clean()) == [
            f"Clean {ELSEWHERE}".replace("-a/", "-x/").replace("-b/", "-a/").replace("-x/", "-b/")
        ]

    @pytest.mark.parametrize("origin", [None, THERE])
    def test_bundles_count_where_no_repository_is_known(self, load: Load, origin: str | None) -> None:
        theirs = load(None)
        run_task(theirs.Clean(), session=Session({"bundle_name": "team_a"}))
        assert sidecar_of(theirs.Clean())["airflow"] == {"bundle_name": "team_a"}
        mine = load(origin)
        path = str(Path(mine.__file__).parent)
        assert lines(mine.Clean(), bundle=("team_b", path)) == [
            f"Clean {ELSEWHERE}".replace("repository: github.com/team-a/churn (here: github.com/team-b/churn)", OTHER_BUNDLE)
        ]
        assert lines(mine.Clean(), bundle=("team_a", path)) == []
        assert lines(mine.Clean(), bundle=("team_b", f"{path}/dags")) == []  # a plug-in, for all bundles
        assert lines(mine.Clean()) == []

    def test_a_known_repository_counts_before_the_bundle(self, load: Load) -> None:
        run_task(load(THERE).Clean(), session=Session({"bundle_name": "team_a"}))
        mine = load(THERE)
        assert lines(mine.Clean(), bundle=("staging", str(Path(mine.__file__).parent))) == []

    def test_a_commit_that_a_bundle_names_has_the_repository(self, load: Load) -> None:
        found = source_of(load(THERE).Clean)["git"]
        assert isinstance(found, dict)
        assert (found["repository"], found["dirty"]) == ("github.com/team-a/churn", False)
