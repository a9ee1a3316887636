"""The versions of packages in a sidecar: of distributions of which a module was imported, and of no others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_kart.artifacts.sidecar.environment import imported_distributions

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution into a folder on ``sys.path``: ``install("Name", "1.0", "module.py", "package/__init__.py")``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(name: str, version: str, *files: str, folder: str | None = None) -> None:
        info = tmp_path / f"{folder or name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: none\n")
        (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
        importlib.invalidate_caches()

    yield make
    for module in set(sys.modules) - before:
        del sys.modules[module]


def test_a_distribution_counts_when_one_of_its_modules_is_imported(install: Install) -> None:
    install("kartalike", "1.0", "kartalike/__init__.py", "kartalike/inner.py")
    install("Py-Other", "2.0", "Kartother.py", folder="py_other")
    install("kartidle", "3.0", "kartidle.py")
    before = imported_distributions()
    assert before.keys().isdisjoint({"kartalike", "Py-Other", "kartidle"})
    importlib.import_module("kartalike.inner")
    importlib.import_module("Kartother")
    assert imported_distributions() == dict(sorted({**before, "kartalike": "1.0", "Py-Other": "2.0"}.items()))


def test_of_a_namespace_only_the_imported_packages_count(install: Install) -> None:
    install("kartspace-one", "1.0", "kartspace/deep/one/__init__.py", folder="kartspace_one")
    install("kartspace-two", "2.0", "kartspace/deep/two.py", folder="kartspace_two")
    install("third", "3.0", "kartspace/third.py")
    before = imported_distributions()
    importlib.import_module("kartspace.deep.one")
    assert imported_distributions() == dict(sorted({**before, "kartspace-one": "1.0"}.items()))
    importlib.import_module("kartspace.third")
    assert imported_distributions() == dict(sorted({**before, "kartspace-one": "1.0", "third": "3.0"}.items()))


def test_modules_of_no_distribution_are_left_out(install: Install, tmp_path: Path) -> None:
    install("kartbroken", "1.0", "kartbroken.py")
    (tmp_path / "kartbroken-1.0.dist-info" / "METADATA").write_text("Summary: nothing\n")
    install("kartlistless", "1.0", "kartlistless.py")
    (tmp_path / "kartlistless-1.0.dist-info" / "RECORD").unlink()
    (tmp_path / "kartloose.py").touch()
    before = imported_distributions()
    for name in ("kartbroken", "kartlistless", "kartloose"):
        importlib.import_module(name)
    assert imported_distributions() == before


def test_this_package_is_always_there() -> None:
    found = imported_distributions()
    assert "airflow-kart" in found
    assert "pytest" in found
    assert list(found) == sorted(found)
