"""Logical module names: one file, loaded in every way there is, has one unique id and one path."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import airflow_kart.formats
from airflow_kart.identity import names
from airflow_kart.identity.names import (
    find_loaded_class,
    is_importable,
    logical_class_name,
    logical_module_name,
)

PIPELINE = """
import enum, json
from airflow_kart import EnumParameter, TaskOnKart, Workspace

class Colour(enum.Enum):
    RED = 1

class Upstream(TaskOnKart):
    pass

class Thing(TaskOnKart):
    colour = EnumParameter(enum=Colour, default=Colour.RED)
    def requires(self):
        return Upstream()

def report():
    with Workspace("/ws"):
        print(json.dumps([Thing().unique_id, Thing().output().uri, __name__]))

if __name__ == "__main__":
    report()
"""

AS_AIRFLOW_LOADS = """
import hashlib, importlib.machinery, importlib.util, pathlib, sys
path = sys.argv[1]
name = f"unusual_prefix_{hashlib.sha1(path.encode()).hexdigest()}_{pathlib.Path(path).stem}"
loader = importlib.machinery.SourceFileLoader(name, path)
module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
sys.modules[name] = module
loader.exec_module(module)
module.report()
"""
SHA = "3f786850e387550fdab836ed7e6dc881de23001b"
LAYOUTS: dict[str, Callable[..., Any]] = {}


def layout(found: Callable[..., Any]) -> Callable[..., Any]:
    """A way to load a file at ``folder/sub/pipe.py``; it returns the folder, the environment and the arguments."""
    LAYOUTS[found.__name__] = found
    return found


@layout
def imported(base: Path) -> Any:
    return base / "src", {"PYTHONPATH": str(base / "src")}, ["-c", "import sub.pipe; sub.pipe.report()"]


@layout
def imported_by_a_longer_name_from_the_dag_folder(base: Path) -> Any:
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags"), "PYTHONPATH": str(base)}
    return base / "dags", env, ["-c", "import dags.sub.pipe; dags.sub.pipe.report()"]


@layout
def imported_by_a_shorter_name_from_the_dag_folder(base: Path) -> Any:
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags"), "PYTHONPATH": str(base / "dags/sub")}
    return base / "dags", env, ["-c", "import pipe; pipe.report()"]


@layout
def run_as_a_module(base: Path) -> Any:
    return base / "src", {"PYTHONPATH": str(base / "src")}, ["-m", "sub.pipe"]


@layout
def run_as_a_module_in_the_dag_folder(base: Path) -> Any:
    return (
        base / "dags",
        {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags"), "PYTHONPATH": str(base / "dags")},
        ["-m", "sub.pipe"],
    )


@layout
def run_as_a_file_in_the_dag_folder(base: Path) -> Any:
    return base / "dags", {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags")}, [base / "dags/sub/pipe.py"]


@layout
def loaded_from_the_dag_folder(base: Path) -> Any:
    return base / "dags", {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags")}, [base / "load.py", base / "dags/sub/pipe.py"]


@layout
def loaded_from_the_default_dag_folder(base: Path) -> Any:
    return base / "home/dags", {"AIRFLOW_HOME": str(base / "home")}, [base / "load.py", base / "home/dags/sub/pipe.py"]


@layout
def loaded_from_the_dag_folder_of_the_configuration(base: Path) -> Any:
    (base / "home").mkdir()
    (base / "home/airflow.cfg").write_text(f"[core]\ndags_folder = {base / 'dags'}\n")
    return base / "dags", {"AIRFLOW_HOME": str(base / "home")}, [base / "load.py", base / "dags/sub/pipe.py"]


@layout
def loaded_from_a_folder_in_the_dag_folder_that_is_on_the_path(base: Path) -> Any:
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags"), "PYTHONPATH": str(base / "dags/sub")}
    return base / "dags", env, [base / "load.py", base / "dags/sub/pipe.py"]


def git_bundle(base: Path, inside: str, subfolder: str = "", **more: Any) -> Any:
    storage = base / "bundles"
    folder = storage / "team" / inside / subfolder
    bundles = [
        {
            "name": "team",
            "classpath": "airflow.providers.git.bundles.git.GitDagBundle",
            "kwargs": {"subdir": subfolder} if subfolder else {},
        }
    ]
    env = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(storage),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        **more,
    }
    return folder, env, [base / "load.py", folder / "sub/pipe.py"]


@layout
def loaded_from_a_version_of_a_git_bundle(base: Path) -> Any:
    return git_bundle(base, f"versions/{SHA}")


@layout
def loaded_from_the_tracking_checkout_of_a_git_bundle(base: Path) -> Any:
    return git_bundle(base, "tracking_repo")


@layout
def loaded_from_a_folder_of_a_git_bundle(base: Path) -> Any:
    return git_bundle(base, f"versions/{SHA}", "team/dags")


@layout
def loaded_from_a_folder_of_a_tracking_checkout(base: Path) -> Any:
    return git_bundle(base, "tracking_repo", "team/dags")


@layout
def loaded_from_a_git_bundle_without_a_configured_list(base: Path) -> Any:
    folder, env, arguments = git_bundle(base, f"versions/{SHA}")
    del env["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    return folder, env, arguments


@layout
def loaded_from_a_bundle_that_is_not_git(base: Path) -> Any:
    return git_bundle(base, "")


@layout
def loaded_from_the_default_bundle_storage(base: Path) -> Any:
    folder = base / f"tmp/airflow/dag_bundles/team/versions/{SHA}"
    return folder, {"TMPDIR": str(base / "tmp")}, [base / "load.py", folder / "sub/pipe.py"]


@layout
def loaded_from_a_local_bundle(base: Path) -> Any:
    bundles = [
        {
            "name": "here",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(base / "here")},
        }
    ]
    env = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles)}
    return base / "here", env, [base / "load.py", base / "here/sub/pipe.py"]


@layout
def loaded_from_a_local_bundle_inside_the_dag_folder(base: Path) -> Any:
    folder, env, arguments = loaded_from_a_local_bundle(base)
    return folder, {**env, "AIRFLOW__CORE__DAGS_FOLDER": str(base)}, arguments


@layout
def found_through_the_search_path(base: Path) -> Any:
    return base / "lib", {"PYTHONPATH": str(base / "lib")}, [base / "load.py", base / "lib/sub/pipe.py"]


@layout
def loaded_from_a_dag_folder_that_is_a_link(base: Path) -> Any:
    (base / "dags").symlink_to(base / "checkout")
    return (
        base / "checkout",
        {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags")},
        [base / "load.py", base / "dags/sub/pipe.py"],
    )


@layout
def run_by_its_real_path_in_a_dag_folder_that_is_a_link(base: Path) -> Any:
    (base / "dags").symlink_to(base / "checkout")
    return base / "checkout", {"AIRFLOW__CORE__DAGS_FOLDER": str(base / "dags")}, [base / "checkout/sub/pipe.py"]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("way", LAYOUTS)
def test_a_file_has_one_name_however_it_was_loaded(
    way: str, tmp_path: Path, python: Any, script: Any, expected: Any
) -> None:
    script("load.py", AS_AIRFLOW_LOADS)
    folder, env, arguments = LAYOUTS[way](tmp_path)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/pipe.py").write_text(PIPELINE)
    unique_id, uri, _ = json.loads(python(*arguments, env=env))
    assert uri == f"/ws/sub/pipe/Thing_{unique_id}.pkl"
    assert expected.setdefault("unique_id", unique_id) == unique_id


def test_airflow_really_gives_another_name(tmp_path: Path, python: Any, script: Any) -> None:
    script("load.py", AS_AIRFLOW_LOADS)
    script("dags/pipe.py", PIPELINE)
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    ways: list[list[object]] = [["load.py", tmp_path / "dags/pipe.py"], ["dags/pipe.py"]]
    one, other = (json.loads(python(*way, env=env)) for way in ways)
    assert one[2].startswith("unusual_prefix_")
    assert other[2] == "__main__"
    assert one[:2] == other[:2]


def test_a_lone_file_is_named_by_its_stem(tmp_path: Path, python: Any, script: Any) -> None:
    assert "/ws/pipe/Thing_" in python(script("anywhere/pipe.py", PIPELINE))


def test_code_without_a_file_is_main(python: Any) -> None:
    code = "from airflow_kart.identity.names import logical_module_name\nprint(logical_module_name('__main__'))"
    assert python(code=code).strip() == "__main__"


def test_a_broken_bundle_list_is_left_to_airflow(tmp_path: Path, python: Any, script: Any) -> None:
    script("load.py", AS_AIRFLOW_LOADS)
    file = script("dags/sub/pipe.py", PIPELINE)
    env = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": "{not json",
    }
    assert "/ws/sub/pipe/" in python("load.py", file, env=env)


@pytest.mark.parametrize(
    ("name", "importable"),
    [
        ("__main__", False),
        (f"unusual_prefix_{SHA}_pipe", False),
        ("unusual_prefix_pipe", True),
        (f"my_unusual_prefix_{SHA}_pipe", True),
        ("json.decoder", True),
        ("pytest", True),
        ("builtins", True),
    ],
)
def test_names_that_airflow_makes_up_are_known(name: str, importable: bool) -> None:
    assert is_importable(name) is importable


def test_a_package_is_named_without_init(tmp_path: Path, python: Any, script: Any) -> None:
    script("load.py", AS_AIRFLOW_LOADS)
    file = script("dags/sub/__init__.py", PIPELINE)
    env = {"AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"), "PYTHONPATH": str(tmp_path / "dags")}
    loaded = json.loads(python("load.py", file, env=env))
    assert loaded[1].startswith("/ws/sub/Thing_")
    assert json.loads(python("-c", "import sub; sub.report()", env=env))[:2] == loaded[:2]


def test_an_imported_module_keeps_its_name() -> None:
    assert logical_module_name("json.decoder") == "json.decoder"
    assert logical_class_name(json.JSONDecoder) == "json.decoder.JSONDecoder"


def test_a_class_is_found_by_its_logical_name() -> None:
    assert find_loaded_class("json.decoder", "JSONDecoder") is json.JSONDecoder
    assert find_loaded_class("json.decoder", "Nothing") is None
    assert find_loaded_class("json.decoder", "scanstring") is None


def test_public_classes_of_the_package_are_named_by_their_public_addresses() -> None:
    assert logical_class_name(airflow_kart.TaskOnKart) == "airflow_kart.TaskOnKart"
    assert logical_class_name(airflow_kart.formats.CsvFormat) == "airflow_kart.formats.CsvFormat"


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Give a module of a name and a file below the test's directory, with a class ``Thing`` and one of the module's own."""
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "dags"))
    monkeypatch.setattr(names, "_name_of_file", functools.lru_cache(names._name_of_file.__wrapped__))

    def load(name: str, file: str) -> ModuleType:
        module = ModuleType(name)
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        module.__file__ = str(path)
        for qualname in ("Thing", f"Of{path.parent.name}"):
            setattr(module, qualname, type(qualname, (), {"__module__": name}))
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return load


AIRFLOWS = f"unusual_prefix_{SHA}_pipe"


@pytest.mark.parametrize("name", ["pipe", "sub.pipe", "z.pipe", AIRFLOWS])
@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("dags/pipe.py", "pipe"),
        ("dags/sub/pipe.py", "sub.pipe"),
        ("dags/sub/deep/pipe.py", "sub.deep.pipe"),
        ("dags/sub/__init__.py", "sub"),
        ("dags/sub/deep/__init__.py", "sub.deep"),
        ("dags/__init__.py", "__init__"),
    ],
)
def test_a_file_of_the_dag_folder_has_its_path_for_a_name(loaded: Any, name: str, file: str, expected: str) -> None:
    loaded(name, file)
    assert logical_module_name(name) == expected
    assert is_importable(name) is (name == expected)


@pytest.mark.parametrize(
    ("folders", "file", "packages", "expected"),
    [
        ([], "pipe.py", [], "pipe"),
        ([], "lib/sub/pipe.py", [], "pipe"),
        (["lib"], "lib/sub/pipe.py", [], "sub.pipe"),
        (["", "lib"], "lib/sub/pipe.py", [], "sub.pipe"),
        (["lib", ""], "lib/sub/pipe.py", [], "sub.pipe"),
        (["lib/sub"], "lib/sub/pipe.py", [], "pipe"),
        (["lib/sub"], "lib/sub/pipe.py", ["lib/sub"], "sub.pipe"),
        (["lib/sub"], "lib/sub/pipe.py", ["lib", "lib/sub"], "lib.sub.pipe"),
        (["lib/sub"], "lib/sub/pipe.py", ["lib"], "pipe"),
        (["lib"], "lib/sub/pipe.py", ["lib/sub"], "sub.pipe"),
        (["lib"], "lib/sub/__init__.py", [], "sub"),
    ],
)
def test_a_file_elsewhere_is_named_from_the_innermost_entry_of_the_search_path(
    loaded: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folders: list[str],
    file: str,
    packages: list[str],
    expected: str,
) -> None:
    loaded(AIRFLOWS, file)
    for package in packages:
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / folder) for folder in folders])
    assert logical_module_name(AIRFLOWS) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("pipe.py", "pipe"),
        ("team/pipe.py", "pipe"),
        ("team/sub/pipe.py", "sub.pipe"),
        ("team/tracking_repo/sub/pipe.py", "sub.pipe"),
        (f"team/versions/{SHA}/sub/pipe.py", "sub.pipe"),
        ("other/sub/pipe.py", "pipe"),
        ("other/folder/sub/pipe.py", "sub.pipe"),
        (f"other/versions/{SHA}/folder/sub/pipe.py", "sub.pipe"),
    ],
)
def test_a_file_of_a_bundles_checkout_is_named_from_the_bundles_root(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    bundles = [{"name": "team", "kwargs": {}}, {"name": "other", "kwargs": {"subdir": "folder"}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
    loaded(AIRFLOWS, f"bundles/{file}")
    assert logical_module_name(AIRFLOWS) == expected


@pytest.mark.parametrize("place", ["site-packages", "dist-packages"])
def test_an_installed_module_keeps_its_name_wherever_it_is(loaded: Any, place: str) -> None:
    loaded("pipe", f"dags/{place}/sub/pipe.py")
    assert logical_module_name("pipe") == "pipe"


def test_a_class_is_found_in_the_module_of_its_name_only(loaded: Any) -> None:
    first, second = loaded("pipe", "dags/sub/pipe.py"), loaded("z.pipe", "dags/z/pipe.py")
    third, fourth = loaded("a.pipe", "dags/a/pipe.py"), loaded(AIRFLOWS, "dags/b/other.py")
    assert find_loaded_class("sub.pipe", "Thing") is first.Thing
    assert find_loaded_class("z.pipe", "Thing") is second.Thing
    assert find_loaded_class("a.pipe", "Thing") is third.Thing
    assert find_loaded_class("b.other", "Thing") is fourth.Thing
    assert find_loaded_class("pipe", "Thing") is None
    everywhere = ["sub.pipe", "z.pipe", "a.pipe", "b.other"]
    for own, module in (("Ofsub", "sub.pipe"), ("Ofz", "z.pipe"), ("Ofa", "a.pipe"), ("Ofb", "b.other")):
        assert [name for name in everywhere if find_loaded_class(name, own)] == [module]
