"""A text that names a class imports files of the project, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import airflow_kart
from airflow_kart import TaskInstanceParameter, TaskOnKart, TaskParameter
from airflow_kart.artifacts.sidecar import SIDECAR_SUFFIX
from airflow_kart.exceptions import CorruptArtifactError, IdentityError, KartError, MissingArtifactError, ParameterValueError
from airflow_kart.identity.lookup import find_class, find_class_named, is_of_project

TASKS = """
import pathlib
pathlib.Path({mark!r}).write_text("imported")
from airflow_kart import IntParameter, TaskOnKart
class Found(TaskOnKart[int]):
    n: int = IntParameter(default=1)
    class Inner(TaskOnKart[int]):
        pass
class NoTask:
    def __init__(self, **values): raise SystemExit("made")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes a module of tasks, which leaves a mark when it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(path: str, text: str = TASKS) -> Path:
        file, mark = tmp_path / path, tmp_path / f"{Path(path).stem}.mark"
        for folder in list(file.relative_to(tmp_path).parents)[:-1]:
            (tmp_path / folder).mkdir(exist_ok=True)
            if "packages" not in folder.name and not folder.name.startswith("space"):
                (tmp_path / folder / "__init__.py").touch()
        file.write_text(text.format(mark=str(mark)))
        return mark

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("lookup_"):
            del sys.modules[name]


def test_a_module_of_the_project_is_imported(module: Any) -> None:
    mark = module("lookup_one/tasks.py")
    found = find_class_named("lookup_one.tasks.Found")
    assert found is not None
    assert (found.__module__, found.__qualname__, mark.exists()) == ("lookup_one.tasks", "Found", True)
    inner = find_class("lookup_one.tasks", "Found.Inner")
    assert inner is not None
    assert inner.__qualname__ == "Found.Inner"
    assert find_class("lookup_one.tasks", "pathlib") is None
    assert find_class("lookup_one.tasks", "Found.n") is None


def test_a_package_without_an_init_file_belongs_to_the_project(module: Any) -> None:
    module("space_of_names/lookup_two.py")
    assert find_class("space_of_names.lookup_two", "Found") is not None


@pytest.mark.parametrize("name", ["antigravity", "this", "xml.dom.minidom", "lib2to3.main", "wsgiref.types", "jsonschema.cli",
                                  "no.such.module", "a-b", "", "..", "airflow_kart.no_module"])  # fmt: skip
def test_other_modules_are_not_imported(name: str) -> None:
    before = set(sys.modules)
    assert find_class(name, "Thing") is None
    assert name == "airflow_kart.no_module" or not is_of_project(name)
    assert {new for new in set(sys.modules) - before if not new.startswith("airflow_kart")} == set()


def test_an_installed_module_is_found_once_it_is_loaded(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = module("site-packages/lookup_installed.py")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    assert find_class("lookup_installed", "Found") is None
    assert not mark.exists()
    __import__("lookup_installed")
    assert find_class("lookup_installed", "Found") is not None


def test_a_link_into_installed_packages_leads_nowhere(module: Any, tmp_path: Path) -> None:
    mark = module("site-packages/elsewhere.py")
    (tmp_path / "lookup_link.py").symlink_to(tmp_path / "site-packages" / "elsewhere.py")
    assert find_class("lookup_link", "Found") is None
    assert not mark.exists()


def test_a_lazy_attribute_of_a_loaded_module_is_not_loaded(module: Any) -> None:
    module("lookup_lazy.py", "def __getattr__(name):\n    raise SystemExit(name)\n")
    __import__("lookup_lazy")
    assert find_class("lookup_lazy", "Anything") is None


def test_the_packages_own_classes_are_found_before_they_are_loaded() -> None:
    code = (
        "from airflow_kart.identity.lookup import find_class_named as f\n"
        "print(f('airflow_kart.ExternalTask').__name__, f('airflow_kart.formats.CsvFormat').__name__, f('airflow_kart.X'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ExternalTask", "CsvFormat", "None"]
    assert find_class_named("airflow_kart.ExternalTask") is airflow_kart.ExternalTask


@pytest.mark.parametrize(
    "text", ["import no_such_thing_at_all", "1 / 0", "def f(:", "raise SystemError", "from json import no"]
)
def test_a_module_of_the_project_that_fails_says_so(module: Any, text: str) -> None:
    module("lookup_broken.py", text)
    with pytest.raises(IdentityError, match=r"the module lookup_broken cannot be imported: \w+: "):
        find_class("lookup_broken", "Found")


# Who looks classes up: parameters, and restoration.


@pytest.mark.parametrize("text", ["subprocess.Popen", "os.system", "this.Zen", "antigravity.Fly", "builtins.object"])
def test_a_parameter_of_a_task_class_takes_task_classes_only(text: str) -> None:
    before = set(sys.modules)
    parameter: Any = TaskParameter()
    with pytest.raises(ParameterValueError, match=r"Owner\.knob: (there is no task class|give a task class)"):
        parameter.read(text, "Owner", "knob")
    written = json.dumps({"module": text.partition(".")[0], "class": text.partition(".")[2], "parameters": {"args": "ls"}})
    parameter = TaskInstanceParameter()
    with pytest.raises(ParameterValueError, match=r"Owner\.knob: there is no task class"):
        parameter.read(written, "Owner", "knob")
    assert not {"this", "antigravity"} & (set(sys.modules) - before)


class Holder(TaskOnKart[int]):
    held: Any = TaskInstanceParameter()

    def run(self) -> None:
        self.dump(1)


class Held(airflow_kart.WrapperTask):
    pass


@pytest.mark.parametrize(
    "change",
    [
        {"task": "this.Zen"},
        {"task": "subprocess.Popen", "parameters": {"args": {"value": ["touch", "/tmp/no"]}}},
        {"task": "lookup_mark.NoTask", "parameters": {}},
        {"task": 3},
        {"task": "a..b"},
        {"unique_id": None},
        {"parameters": []},
        {"parameters": {"x": 3}},
    ],
)
def test_a_sidecar_makes_no_other_class_and_imports_nothing(
    change: dict[str, Any], workspace: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module("lookup_mark.py")
    task = Holder(held=Held())
    airflow_kart.build(task, progress=False)
    sidecar = next(path for path in workspace.rglob(f"*{SIDECAR_SUFFIX}") if task.unique_id in path.name)
    content = json.loads(sidecar.read_text())
    content["task"]["parameters"]["held"]["value"].update(change)
    rewrite(sidecar, content)
    before = set(sys.modules)
    if change == {"parameters": {"x": 3}}:
        assert Holder.restore(task.unique_id) == task
        return
    with pytest.raises(KartError):
        Holder.restore(task.unique_id)
    assert "this" not in set(sys.modules) - before


def rewrite(sidecar: Path, content: dict[str, Any]) -> None:
    """Write a sidecar as version 1 was: without a digest that tells of the change."""
    content.pop("digest")
    sidecar.write_text(json.dumps({**content, "schema_version": 1}))


@pytest.mark.parametrize("part", [None, [], "x", {}, {"class": 3}, {"class": "this.Zen"}, {"parameters": {}}])
def test_a_sidecar_that_describes_no_task_is_corrupt(part: Any, workspace: Path) -> None:
    task = Holder(held=Held())
    airflow_kart.build(task, progress=False)
    sidecar = next(path for path in workspace.rglob(f"*{SIDECAR_SUFFIX}") if task.unique_id in path.name)
    content = json.loads(sidecar.read_text())
    content["task"] = {**part, "unique_id": task.unique_id} if isinstance(part, dict) else part
    rewrite(sidecar, content)
    with pytest.raises(KartError) as caught:
        Holder.restore(task.unique_id)
    assert isinstance(caught.value, (CorruptArtifactError, MissingArtifactError))


def test_tasks_that_hold_each_other_in_sidecars_end(workspace: Path) -> None:
    class Inner(TaskOnKart[int]):
        def run(self) -> None:
            self.dump(1)

    task = Holder(held=Inner())
    airflow_kart.build(task, progress=False)
    sidecar = next(path for path in workspace.rglob(f"*{SIDECAR_SUFFIX}") if task.unique_id in path.name)
    content = json.loads(sidecar.read_text())
    content["task"]["parameters"]["held"]["value"] = {"task": f"{__name__}.Holder", "unique_id": task.unique_id}
    rewrite(sidecar, content)
    with pytest.raises(ParameterValueError, match=r"Holder\.held: the sidecars say that the task .* holds itself"):
        Holder.restore(task.unique_id)
