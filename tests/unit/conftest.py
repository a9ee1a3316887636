"""What the unit level shares: a workspace of its own, and Python as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.checkout import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary  # noqa: F401
from harness.loops import Loops
from hypothesis import HealthCheck, settings

from airflow_kart import Workspace
from airflow_kart.storage import register_store
from airflow_kart.storage.resolve import _REGISTERED

settings.register_profile(
    "unit",
    deadline=None,
    max_examples=25 if "CI" in os.environ else 50,  # the same in each run of CI, new ones elsewhere
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Leave out whatever Airflow is configured to outside; return the new AIRFLOW_HOME."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    home = tmp_path / "airflow-home"
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    return home


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    """Enter a workspace; give its directory."""
    with Workspace(str(tmp_path / "ws")) as entered:
        yield Path(entered.directory)


@pytest.fixture
def own_scheme(tmp_path: Path) -> Iterator[str]:
    """Register a store of the user's own; give its scheme."""
    from harness.own_store import OwnStore

    scheme = f"own{uuid.uuid4().hex}"
    register_store(scheme, lambda: OwnStore(tmp_path / "own.db"))
    yield scheme
    _REGISTERED.pop(scheme)


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Run Python in a process of its own: ``python(script, *arguments)``, or with ``code=`` a text. Returns its output."""

    def run(
        *arguments: object, code: str | None = None, env: dict[str, str] | None = None, exits: int = 0, cwd: Any = None
    ) -> str:
        given = ["-c", code] if code is not None else []
        done = subprocess.run(
            [sys.executable, *given, *map(str, arguments)],
            env={**os.environ, **(env or {})},
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == exits, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a Python file below the test's directory."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def loops() -> type[Loops]:
    return Loops


def uploads_below(directory: Path) -> list[Path]:
    uploads = (path for path in directory.rglob("*") if path.is_file() and ".kart-uploads" in path.parts)
    return [path for path in uploads if path.name != "publishing.lock"]


@pytest.fixture
def leftovers() -> Callable[[Path], list[Path]]:
    """The upload files that are still there below a directory."""
    return uploads_below
