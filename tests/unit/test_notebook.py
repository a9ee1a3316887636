"""Notebooks: names, fingerprints and redefinitions in real kernels, and at Python's prompt."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import IPython
import pytest
from harness.kernel import CellError, Kernel, kernel_in

from airflow_kart.identity.notebook import _path_of

IMPORTS = """
import importlib
from airflow_kart import IntParameter, TaskInstanceParameter, TaskOnKart, Workspace, build
from airflow_kart.identity.code import fingerprint, fingerprint_parts
"""
CONSTANTS = "FACTOR = 2"
HELPER = "def helper(x): return x * FACTOR"
CLEAN = """
class Clean(TaskOnKart[int]):
    code_version = "auto"
    n: int = IntParameter(default=1)
    def run(self):
        self.dump(helper(self.n))
"""
CHANGED = CLEAN.replace("helper(self.n)", "helper(self.n) + 1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def one_kernel(folder: Path) -> Iterator[Kernel]:
    with kernel_in(folder, "01 churn (draft).ipynb") as started:
        started.run(IMPORTS)
        yield started


@pytest.fixture
def kernel(one_kernel: Kernel) -> Kernel:
    """A kernel of the notebook ``01 churn (draft).ipynb``, in which the cells of the other tests count no more."""
    # multiprocessing asks for __spec__, which %reset removes.
    one_kernel.run(f"%reset -f\n__spec__ = None\n{IMPORTS}\n{CONSTANTS}\n{HELPER}\n{CLEAN}")
    return one_kernel


def printed(kernel: Kernel) -> Any:
    return kernel.value("fingerprint(Clean)")


SAME = {
    "the same cells again": [CONSTANTS, HELPER, CLEAN],
    "another order": [CLEAN, HELPER, CONSTANTS],
    "all in one cell": [f"{CONSTANTS}\n{HELPER}\n{CLEAN}"],
    "comments and layout": [HELPER + "  # twice", CLEAN.replace("    def run", "\n    # the work\n    def run")],
    "changed and changed back": ["FACTOR = 3", CONSTANTS],
    "changed as one of several, and back": ["FACTOR, MORE = 3, 1", CONSTANTS],
    "changed with a decorator, and back": ["import functools", "@functools.cache\ndef helper(x): return x", HELPER],
    "the history forgotten": ["%reset -f", IMPORTS, CONSTANTS, HELPER, CLEAN],
    "unrelated cells": ["OTHER = 1", "import math", "print(FACTOR, Clean)", "Clean.get_parameters()", "task = Clean(n=4)"],
    "a cell that is not Python": ["%%bash\necho FACTOR = 5"],
    "magics beside": ["%precision 3\nfiles = !ls\n!echo helper"],
    "the same in timed and captured cells": ["%%time\n" + HELPER, "%%capture\n" + CLEAN],
    "an import twice": [IMPORTS],
}
OTHER = {
    "a constant": ["FACTOR = 3"],
    "a constant of several": ["FACTOR, MORE = 3, 1"],
    "a helper": ["def helper(x): return x + FACTOR"],
    "a helper in a timed cell": ["%%time\ndef helper(x): return x + FACTOR"],
    "a helper with a magic beside": ["%precision 3\ndef helper(x): return x + FACTOR"],
    "the class": [CHANGED],
    "a change of the class": ["Clean.more = 1"],
    "a constant that keeps the former": ["FACTOR = FACTOR + 1"],
    "a constant that counts up": ["FACTOR += 1"],
    "a constant by chance": ["if len(str(1)) > 5: FACTOR = 7"],
    "a decorated helper": ["import functools\n@functools.cache\ndef helper(x): return x * FACTOR"],
}


@pytest.mark.parametrize("cells", SAME.values(), ids=SAME)
def test_a_fingerprint_is_that_of_the_code(kernel: Kernel, cells: list[str]) -> None:
    before = printed(kernel)
    for cell in cells:
        kernel.run(cell)
    assert printed(kernel) == before


@pytest.mark.parametrize("cells", OTHER.values(), ids=OTHER)
def test_changed_code_has_another_fingerprint(kernel: Kernel, cells: list[str]) -> None:
    before = printed(kernel)
    for cell in cells:
        kernel.run(cell)
    after = printed(kernel)
    assert after != before
    for cell in cells:
        kernel.run(cell)
    assert printed(kernel) == after


def test_a_constant_counts_with_all_that_made_it(kernel: Kernel) -> None:
    kernel.run("FACTOR = FACTOR + 1")
    first = printed(kernel)
    kernel.run("FACTOR = 5")
    kernel.run("FACTOR = FACTOR + 1")
    assert printed(kernel) != first


def test_a_list_counts_with_its_changes(kernel: Kernel) -> None:
    kernel.run("COLUMNS = ['a']")
    kernel.run("def helper(x): return COLUMNS")
    before = printed(kernel)
    kernel.run("COLUMNS.append('b')")
    changed = printed(kernel)
    kernel.run("COLUMNS.index('a')")
    assert printed(kernel) == changed != before
    kernel.run("COLUMNS = ['a']")
    assert printed(kernel) == before


@pytest.mark.skipif(IPython.version_info < (9,), reason="only IPython 9 remembers which cells failed")
def test_a_cell_that_failed_replaces_nothing(kernel: Kernel) -> None:
    before = printed(kernel)
    better = "1 / int(BROKEN)\ndef helper(x): return x + FACTOR"
    with pytest.raises(CellError, match="BROKEN"):
        kernel.run(better)
    doubtful = printed(kernel)
    kernel.run("BROKEN = 1")
    kernel.run(better)
    assert len({before, doubtful, printed(kernel)}) == 3


def test_files_beside_the_notebook_count(kernel: Kernel, folder: Path) -> None:
    (folder / "beside.py").write_text("def double(x): return 2 * x\n\ndef other(): pass\n")
    kernel.run("import beside")
    kernel.run("def helper(x): return beside.double(x)")
    before = printed(kernel)
    assert "beside.double" in kernel.value("fingerprint_parts(Clean)")
    (folder / "beside.py").write_text("def double(x): return 2 * x\n\ndef other(): return 1\n")
    kernel.run("importlib.reload(beside)")
    assert printed(kernel) == before
    (folder / "beside.py").write_text("def double(x): return x + x\n\ndef other(): return 1\n")
    kernel.run("importlib.reload(beside)")
    assert printed(kernel) != before


REPORT = """
class Report(TaskOnKart[int]):
    clean: TaskOnKart[int] = TaskInstanceParameter(expected_type=Clean)
    def run(self):
        self.dump(self.load("clean"))
"""


def test_an_instance_of_a_changed_class_is_refused(kernel: Kernel) -> None:
    kernel.run(REPORT)
    kernel.run("clean = Clean(); report = Report(clean=clean)")
    assert kernel.value("build(clean), clean.unique_id, report.unique_id")[0] == 2
    first = kernel.value("clean.unique_id")
    kernel.run(CHANGED)
    for use in (
        "build(clean)",
        "build(report)",
        "clean.output()",
        "build(Report(clean=clean))",
        f"{REPORT}Report(clean=clean)",
    ):
        with pytest.raises(CellError, match=r"Clean\(n=1\) was made before the class Clean was changed.*make it again"):
            kernel.run(use)
    assert kernel.value("build(Clean())") == 3
    assert kernel.value("Clean().unique_id") != first
    kernel.run(CLEAN)
    assert kernel.value("Clean().unique_id") == first


def test_an_instance_of_changed_code_is_refused(kernel: Kernel) -> None:
    kernel.run("clean = Clean(n=5)")
    assert kernel.value("build(clean)") == 10
    kernel.run("FACTOR = 4")
    with pytest.raises(CellError, match=r"Clean\(n=5\) was made before its code was changed; make it again"):
        kernel.run("build(clean)")
    assert kernel.value("build(Clean(n=5))") == 20
    kernel.run(CONSTANTS)
    assert kernel.value("build(clean)") == 10


def test_changed_code_that_does_not_count_is_told(kernel: Kernel) -> None:
    plain = CLEAN.replace('code_version = "auto"', "code_version = None").replace("Clean", "Plain")
    kernel.run(plain)
    kernel.stderr = ""
    assert kernel.value("[build(Plain(n=31)), build(Plain(n=31))]") == [62, 62]
    assert "changed" not in kernel.stderr
    kernel.run("def helper(x): return x * 3")
    assert kernel.value("build(Plain(n=31))") == 62
    assert "its code has changed since" in kernel.stderr
    assert "helper" in kernel.stderr
    assert kernel.value("build(Plain(n=31), on_changed_code='rerun')") == 93


def test_worker_processes_agree(kernel: Kernel) -> None:
    kernel.run("""
        class Sum(TaskOnKart[int]):
            code_version = "auto"
            def requires(self):
                return [Clean(n=n) for n in (21, 22)]
            def run(self):
                self.dump(sum(self.load()))
    """)
    assert kernel.value("build(Sum(), workers=2)") == 86
    source = kernel.value("dict(Sum().output().sidecar().content['source'])")
    assert source["fingerprint"] == kernel.value("fingerprint(Sum)")


def test_the_notebooks_name_is_everywhere(kernel: Kernel, folder: Path) -> None:
    assert kernel.value("build(Clean(n=8))") == 16
    sidecar = kernel.value("dict(Clean(n=8).output().sidecar().content)")
    name, _, cls = sidecar["task"]["class"].partition(".")
    assert name.startswith("01_churn_draft__")
    assert cls == "Clean"
    assert kernel.value("Clean(n=8).output().uri.rsplit('/', 2)[1]") == name
    assert sidecar["source"]["file"] == str(folder / "01 churn (draft).ipynb")
    assert sidecar["source"]["fingerprint"] == printed(kernel)
    assert len(sidecar["source"]["sha256"]) == 64
    assert set(sidecar["source"]["parts"]) >= {"__main__.Clean", "__main__.helper", "__main__.FACTOR"}
    assert kernel.value("TaskOnKart.restore(Clean(n=8).unique_id) == Clean(n=8)")


def test_a_class_that_no_cell_defines_is_an_error(kernel: Kernel) -> None:
    kernel.run("exec(\"class Made(TaskOnKart):\\n    code_version = 'auto'\")")
    with pytest.raises(CellError, match="no cell of this session defines it"):
        kernel.run("Made().unique_id")


def test_two_notebooks_of_a_folder_share_nothing_unless_they_say_so(kernel: Kernel, folder: Path) -> None:
    kernel.run("""
        class Point:
            here = "churn"
        class Where(TaskOnKart[Point]):
            def run(self):
                self.dump(Point())
    """)
    same = [kernel.value("Clean(n=9).unique_id"), kernel.value("[build(Where()).here, build(Clean(n=9))]")]
    shared = "with Workspace('shared', namespace='team.churn'):\n    "
    kernel.run(f"{shared}mine = Clean(n=9); build(mine)")
    place = kernel.value("Where().output().uri")
    with kernel_in(folder) as other:
        for cell in (IMPORTS, CONSTANTS, HELPER, CLEAN):
            other.run(cell)
        other.run("""
            class Point:
                here = "elsewhere"
            class Where(TaskOnKart[Point]):
                def run(self):
                    self.dump(Point())
        """)
        assert not other.value("Clean(n=9).complete()")
        assert other.value("Clean(n=9).unique_id") != same[0]
        assert other.value("build(Where()).here") == "elsewhere"
        assert other.stderr.count("nothing tells the name of this notebook") == 1
        assert str(folder) in other.stderr
        other.run(
            f"import pickle\nfrom airflow_kart.stored import Unpickler\nfound = Unpickler(open({place!r}, 'rb')).load()"
        )
        assert other.value("[found.here, isinstance(found, Point)]") == ["churn", False]
        other.run(f"{shared}mine = Clean(n=9); there = mine.complete(); back = Clean.restore(mine.unique_id)")
        assert other.value("[there, mine.unique_id, back == mine]") == [True, kernel.value("mine.unique_id"), True]
        with pytest.raises(
            CellError, match=r"unique id as team\.churn\.Clean, and is notebooks\d+_\w+\.Clean in the namespace here"
        ):
            other.run("mine.complete()")
    assert [path.suffix for path in (folder / "shared/team/churn").iterdir()].count(".pkl") == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({}, None),
        (
            {"PAPERMILL_INPUT_PATH": "in.ipynb", "PAPERMILL_OUTPUT_PATH": "out.ipynb", "__vsc_ipynb_file__": "v.ipynb"},
            "in.ipynb",
        ),
        ({"PAPERMILL_OUTPUT_PATH": "s3://bucket/out.ipynb"}, "s3://bucket/out.ipynb"),
        ({"__vsc_ipynb_file__": "/home/v.ipynb"}, "/home/v.ipynb"),
        ({"__vsc_ipynb_file__": 3}, None),
    ],
)
def test_who_runs_a_notebook_tells_its_name(
    names: dict[str, object], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/outer.ipynb")  # of the kernel that started this process, which is none
    assert _path_of(names) == expected


def test_a_program_that_a_notebook_starts_is_another_notebook(tmp_path: Path) -> None:
    ask = "from airflow_kart.identity.notebook import _is_inherited as is_inherited; print(is_inherited('/outer.ipynb'))"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}], check=True)"
    for variable, answer in (("JPY_SESSION_NAME", "True"), ("OTHER", "False")):
        done = subprocess.run(
            [sys.executable, "-c", start],
            env={**os.environ, variable: "/outer.ipynb"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == answer


PROMPT = """
from airflow_kart import TaskOnKart
class A(TaskOnKart):
    code_version = None

print("name", A().output().uri)
old = A()
class A(TaskOnKart):
    code_version = "auto"

old.output()
A().unique_id
"""


def test_the_prompt_has_the_name_of_its_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-i"], input=PROMPT, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert f"/{tmp_path.name}_" in done.stdout
    assert "made before the class A was changed" in done.stderr
    assert "Python's prompt keeps none" in done.stderr
