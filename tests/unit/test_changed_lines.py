"""Changed lines of code, asked from real git repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.repositories import clone, git, repository

from airflow_kart.audit.changed_lines import ChangedLines


def source(folder: Path, commit: str, **more: Any) -> dict[str, Any]:
    return {"file": str(folder / "pipeline.py"), "git": {"commit": commit, "dirty": False}, **more}


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, str, str]:
    """Return a repository with two commits; the second one changes more lines than are shown."""
    folder = repository(tmp_path / "project", None, "".join(f"a{n} = 1\n-- old {n}\n" for n in range(30)))
    first = git(folder, "rev-parse", "HEAD")
    (folder / "pipeline.py").write_text("".join(f"a{n} = 2\n-- new {n}\n" for n in range(30)))
    (folder / "deep").mkdir()
    (folder / "deep" / "helping.py").write_text("late = 1\f2\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Edit")
    return folder, first, git(folder, "rev-parse", "HEAD")


def test_lines_are_bounded_and_keep_their_signs(project: tuple[Path, str, str]) -> None:
    folder, first, second = project
    asked = ChangedLines([str(folder)])
    found = asked.between(source(folder, first), source(folder, second), ["deep.helping.f"], of_now=False)
    assert found[:3] == ["deep/helping.py", "@@ -0,0 +1 @@", "+late = 1\f2"]
    assert found[3] == "pipeline.py" and "--- old 0" in found and len(found) == 41
    assert found[-1] == f"... {3 + 2 + 120 - 40} more lines"
    assert asked.between(source(folder, second), source(folder, second), [], of_now=False) == []


def test_no_file_of_another_pipeline_is_shown_for_its_name(project: tuple[Path, str, str]) -> None:
    folder, first, _ = project
    for place in ("team_a", "team_b"):
        (folder / place / "inner").mkdir(parents=True)
        for name in ("helping.py", "inner/helping.py", "xhelping.py"):
            (folder / place / name).write_text(f"token_of_{place} = 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Teams")
    third = git(folder, "rev-parse", "HEAD")
    found = ChangedLines().between(
        source(folder / "team_a", first), source(folder / "team_a", third), ["helping.f", "inner.helping.f"], of_now=False
    )
    assert [line for line in found if line.endswith(".py")] == ["team_a/helping.py", "team_a/inner/helping.py"]


def test_an_airflow_bundle_is_asked_in_its_bare_repository(project: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, first, second = project
    clone(folder, tmp_path / "bundle" / "bare", "--bare")
    versions = tmp_path / "bundle" / "versions"
    found = ChangedLines([str(versions)]).between(
        source(versions / first / "deep", first), source(versions / second, second), [], of_now=False
    )
    assert found[0] == "pipeline.py" and "-a0 = 1" in found


def test_git_runs_nowhere_but_in_the_folders_and_takes_nothing_for_an_option(
    project: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder, first, second = project
    then, now = source(folder, first), source(folder, second)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "link").symlink_to(folder)
    through_a_link = {**now, "file": str(tmp_path / "other" / "link" / "pipeline.py")}
    written = tmp_path / "written"
    for before, after in [
        (then, {**now, "file": str(folder / ".." / "other" / "pipeline.py")}),
        (then, {**now, "file": str(folder / "pipeline.txt")}),
        (then, {**now, "git": {"commit": second, "dirty": True}}),
        ({**then, "git": {"commit": first}}, now),
        ({**then, "git": {"commit": f"--output={written}", "dirty": False}}, now),
        ({**then, "git": [first]}, now),
        ({"file": None}, {"file": 5, "git": 7}),
    ]:
        assert ChangedLines([str(folder)]).between(before, after, ["a"], of_now=False) == []
    assert ChangedLines([str(tmp_path / "other")]).between(then, through_a_link, [], of_now=False) == []
    assert ChangedLines([str(folder)], patience=0).between(then, now, [], of_now=False) == []
    assert ChangedLines([str(folder)]).between(then, now, ["*", ":(exclude)x", "x\0y"], of_now=False)
    assert not written.exists()
    assert ChangedLines().between({**then, "git": {"commit": f"--output={written}"}}, now, [], of_now=True) == []
    assert not written.exists()
