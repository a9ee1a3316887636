"""``code_version = "auto"``: which edits of a project give its tasks other ids, and which do not."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import airflow_kart
from airflow_kart import TaskOnKart, build
from airflow_kart.artifacts.sidecar import source
from airflow_kart.identity.code import fingerprint, fingerprint_parts
from airflow_kart.identity.code.canonical import canonical
from airflow_kart.identity.code.references import references_of

PROJECT = {
    "shop/__init__.py": """
        from . import initial
        from shop.inner import exported
        UNUSED_HERE = 1
    """,
    "shop/inner/__init__.py": """
        from .deep import exported
    """,
    "shop/inner/deep.py": """
        def exported(x):
            return x + 101
    """,
    "shop/tasks.py": """
        '''What the module is about.'''
        from __future__ import annotations

        import json
        import pandas as pd
        from airflow_kart import IntParameter, TaskOnKart

        import shop
        import shop.dotted
        from shop import helpers
        from . import relative
        from .aliased import clean as c
        from .star import *
        from .bases import Base
        from .decorators import logged
        from .circle import ping
        from .whole import registry
        import space.part
        from .annotated import Config, Shape, checked, unchecked

        LIMIT = 102
        UNUSED = 1
        data = 1

        def unused_helper():
            '''Not used by anything.'''
            return UNUSED

        def double(x: int) -> int:
            '''Twice.'''
            return x * 103  # a comment

        def with_default(x, limit=LIMIT):
            return min(x, limit)

        class Plain:
            def go(self):
                return 104

        class Fixed(TaskOnKart):
            code_version = "1"
            def run(self):
                self.dump(105)

        class Upstream(TaskOnKart):
            code_version = "auto"
            def run(self):
                self.dump(106)

        class Made(TaskOnKart):
            def run(self):
                self.dump(107)

        @logged("train")
        class Train(Base):
            '''Trains.'''

            depth: int = IntParameter(default=6)
            rate = 108
            operator_kwargs = {"retries": 1}

            def requires(self):
                return {"fixed": Fixed(), "upstream": Upstream()}

            def run(self) -> None:
                '''Run it.'''
                from .lazy import late
                data = Plain().go()
                shop.initial.function()
                shop.exported(data)
                shop.dotted.function(data)
                c(double(data))
                relative.function(with_default(data))
                starred(data)
                late(data)
                ping(3)
                Made()
                list(map(lambda x: helpers.CONSTANT + x, [helpers.comprehended(y) for y in range(3)]))
                helpers.nested()(1)
                helpers.matched(data)
                helpers.set_global()
                helpers.conditional()
                helpers.TABLE, helpers.LOOPED, helpers.FILLED, helpers.PASSED, helpers.dispatched
                getattr(registry, "named_" + "one")
                space.part.function()
                Config, Shape, checked, unchecked
                text = f"{data!r:>{LIMIT}} and {data=}"
                self.dump(pd.DataFrame({"a": [text]}).to_json())
    """,
    "shop/helpers.py": """
        import functools
        import os
        from shop import settings

        FIRST = 201
        CONSTANT = FIRST * 2
        STATE = 202
        TABLE = {"a": 1}
        TABLE["b"] = 203
        TABLE.update(c=204)
        TABLE["a"] += 205
        LOOPED = []
        for item in (206, 207):
            LOOPED.append(item)
        FILLED = []
        def fill(value):
            global FILLED
            FILLED = [value, 208]
        fill(1)
        PASSED = [3, 1]
        PASSED.sort(reverse=True)
        ALONE = {}
        ALONE["a"] = 1

        if os.environ.get("NEVER_SET"):
            def conditional():
                return 210
        else:
            def conditional():
                return 211

        try:
            from ujson_that_is_not_there import loads
        except ImportError:
            loads = functools.partial(int, base=212)

        def comprehended(y):
            return [z * STEP for z in range(y) if loads]

        STEP = 213

        def nested():
            def inner(x):
                return innermost(x)
            return inner

        setattr(nested, "x", 209)

        def innermost(x):
            return 214

        def matched(x):
            match x:
                case settings.MATCHED:
                    return 1
                case [first, *rest]:
                    return first
                case _:
                    return 2

        def set_global():
            global STATE
            STATE += 1

        @functools.singledispatch
        def dispatched(x):
            return 215

        @dispatched.register
        def _(x: int):
            return 216

        def helper_that_is_not_used():
            return 217
    """,
    "shop/initial.py": "def function():\n    return 501\n",
    "shop/settings.py": "MATCHED = 301\nOTHER = 302\n",
    "shop/relative.py": "from .settings import OTHER as renamed\ndef function(x):\n    return x + renamed\n",
    "shop/aliased.py": "def clean(x):\n    return x + 401\n",
    "shop/star.py": "from .stars import *\n",
    "shop/stars.py": "def starred(x):\n    return x + 402\ndef not_used():\n    return 403\n",
    "shop/dotted.py": "def function(x):\n    return x + 404\n",
    "shop/lazy.py": "def late(x):\n    import shop.later as later\n    return later.latest(x)\n",
    "shop/later.py": "def latest(x):\n    return x + 405\n",
    "shop/bases.py": """
        from airflow_kart import TaskOnKart
        from .mixins import Mixin

        class Base(Mixin, TaskOnKart):
            code_version = "auto"
            def helper(self):
                return 406
    """,
    "shop/mixins.py": "class Mixin:\n    def mixed(self):\n        return 407\n",
    "shop/decorators.py": "def logged(name):\n    def wrap(cls):\n        return cls if 408 else None\n    return wrap\n",
    "shop/circle.py": "from . import cycle\ndef ping(n):\n    return cycle.pong(n - 1) if n else 409\n",
    "shop/cycle.py": "from . import circle\ndef pong(n):\n    return circle.ping(n - 1) if n else 410\n",
    "shop/whole/__init__.py": "",
    "shop/whole/registry.py": "def named_one():\n    return 411\n",
    "space/part.py": "def function():\n    return 412\n",
    "shop/annotated.py": """
        import dataclasses
        from functools import singledispatch, wraps

        @dataclasses.dataclass
        class Config:
            size: "int" = 413
            shape: list[str] = dataclasses.field(default_factory=list)

        class Shape:
            pass

        @singledispatch
        def checked(x: int) -> int:
            return x

        def unchecked(x: int) -> int:
            local: int = x
            return local
    """,
}

COUNTS: dict[str, tuple[str, str, str]] = {
    "a method": ("shop/tasks.py", "data = Plain().go()", "data = Plain().go() + 1"),
    "a parameter's declaration": ("shop/tasks.py", "IntParameter(default=6)", "IntParameter(default=6, min_value=0)"),
    "a class attribute": ("shop/tasks.py", "108", "0"),
    "a decorator's argument": ("shop/tasks.py", 'logged("train")', 'logged("training")'),
    "a decorator": ("shop/decorators.py", "408", "4080"),
    "a base class": ("shop/bases.py", "406", "0"),
    "a base of a base": ("shop/mixins.py", "407", "0"),
    "a function of the module": ("shop/tasks.py", "103", "0"),
    "a class that is used": ("shop/tasks.py", "104", "0"),
    "a constant in a default argument": ("shop/tasks.py", "102", "0"),
    "an upstream by its id": ("shop/tasks.py", "106", "0"),
    "a task that is made in run": ("shop/tasks.py", "107", "0"),
    "a re-export through packages": ("shop/inner/deep.py", "101", "0"),
    "a module that its package imports": ("shop/initial.py", "501", "0"),
    "a function of a dotted module": ("shop/dotted.py", "404", "0"),
    "an import with another name": ("shop/aliased.py", "401", "0"),
    "a constant through a relative import": ("shop/settings.py", "302", "0"),
    "a star import of a star import": ("shop/stars.py", "402", "0"),
    "an import inside a function": ("shop/later.py", "405", "0"),
    "a circle of modules": ("shop/circle.py", "409", "0"),
    "the other side of a circle": ("shop/cycle.py", "410", "0"),
    "a module that is used as a whole": ("shop/whole/registry.py", "411", "0"),
    "a package without __init__": ("space/part.py", "412", "0"),
    "a constant behind a constant": ("shop/helpers.py", "201", "0"),
    "an item that is set": ("shop/helpers.py", "203", "0"),
    "a method that changes": ("shop/helpers.py", "204", "0"),
    "an augmented item": ("shop/helpers.py", "205", "0"),
    "a loop that fills": ("shop/helpers.py", "207", "0"),
    "a function that sets a global": ("shop/helpers.py", "208", "0"),
    "an attribute that is set": ("shop/helpers.py", "209", "0"),
    "a call that changes in place": ("shop/helpers.py", "reverse=True", "reverse=False"),
    "a branch that was not run": ("shop/helpers.py", "210", "0"),
    "the branch that was run": ("shop/helpers.py", "211", "0"),
    "the branch's condition": ("shop/helpers.py", '"NEVER_SET"', '"NEVER_SET_2"'),
    "an except's branch": ("shop/helpers.py", "212", "0"),
    "a name in a comprehension": ("shop/helpers.py", "213", "0"),
    "a function that a nested one calls": ("shop/helpers.py", "214", "0"),
    "a value that is matched": ("shop/settings.py", "301", "0"),
    "a global that is set": ("shop/helpers.py", "202", "0"),
    "a registered function": ("shop/helpers.py", "216", "0"),
    "an annotation a decorator may read": ("shop/helpers.py", "def _(x: int)", "def _(x: str)"),
    "a field's annotation": ("shop/annotated.py", "list[str] =", "list[int] ="),
    "a field's default": ("shop/annotated.py", "413", "0"),
    "an f-string": ("shop/tasks.py", "data!r:>{", "data!r:<{"),
    "an order of statements": (
        "shop/tasks.py",
        "shop.exported(data)\n        shop.dotted.function(data)",
        "shop.dotted.function(data)\n        shop.exported(data)",
    ),
    "what is used of another package": ("shop/helpers.py", "import os\n", "import posix as os\n"),
}

DOES_NOT_COUNT: dict[str, tuple[str, str, str]] = {
    "a comment": ("shop/tasks.py", "# a comment", "# another comment"),
    "a comment between statements": ("shop/tasks.py", "data = Plain().go()\n", "data = Plain().go()\n        # why\n\n"),
    "blank lines": ("shop/helpers.py", "\n\n", "\n\n\n\n"),
    "line breaks": ("shop/tasks.py", "return min(x, limit)", "return min(\n        x,\n        limit,\n    )"),
    "quotes": ("shop/tasks.py", '"train"', "'train'"),
    "text in pieces": ("shop/tasks.py", '"train"', '"tr" "ain"'),
    "another way to write a number": ("shop/tasks.py", "103", "0x67"),
    "a function's docstring": ("shop/tasks.py", "'''Twice.'''", "'''Two times.'''"),
    "no docstring": ("shop/tasks.py", "    '''Twice.'''\n", ""),
    "a method's docstring": ("shop/tasks.py", "'''Run it.'''", '"""Run."""'),
    "a class's docstring": ("shop/tasks.py", "'''Trains.'''", "'''It trains.'''"),
    "a module's docstring": ("shop/tasks.py", "'''What the module is about.'''", "'''About.'''"),
    "an attribute's docstring": ("shop/tasks.py", "rate = 108\n", "rate = 108\n    '''The rate.'''\n"),
    "a type comment": ("shop/tasks.py", "rate = 108", "rate = 108  # type: int"),
    "a function's annotation": ("shop/tasks.py", "def double(x: int) -> int:", "def double(x: float):"),
    "an annotation without its quotes": ("shop/annotated.py", 'size: "int"', "size: int"),
    "a variable's annotation": ("shop/annotated.py", "local: int = x", "local = x"),
    "a constant's annotation": ("shop/tasks.py", "LIMIT = 102", "LIMIT: int = 102"),
    "an unused function": ("shop/tasks.py", "return UNUSED", "return UNUSED + 1"),
    "an unused constant": ("shop/tasks.py", "UNUSED = 1", "UNUSED = 2"),
    "an unused function of another module": ("shop/helpers.py", "217", "0"),
    "an unused constant that is changed": ("shop/helpers.py", 'ALONE["a"] = 1', 'ALONE["a"] = 2'),
    "an unused name of a package": ("shop/__init__.py", "UNUSED_HERE = 1", "UNUSED_HERE = 2"),
    "an unused name of a star import": ("shop/stars.py", "403", "0"),
    "a name that a local one hides": ("shop/tasks.py", "\ndata = 1", "\ndata = 2"),
    "an upstream whose code does not count": ("shop/tasks.py", "105", "0"),
    "retries": ("shop/tasks.py", '"retries": 1', '"retries": 2'),
    "the order of imports": (
        "shop/tasks.py",
        "import json\nimport pandas as pd\nfrom airflow_kart import IntParameter, TaskOnKart\n",
        "from airflow_kart import TaskOnKart, IntParameter\nimport pandas as pd, json\n",
    ),
    "an unused import": ("shop/tasks.py", "import json\n", "import math\n"),
    "the order of functions": ("shop/tasks.py", "def unused_helper", "def first():\n    pass\n\ndef unused_helper"),
    "pass": ("shop/annotated.py", "class Shape:\n    pass", "class Shape:\n    ..."),
    "line ends": ("shop/aliased.py", "\n", "\r\n"),
}

SERVER = """
import importlib, json, os, sys
import airflow_kart.tasks.task, airflow_kart.identity.code, pandas
for line in sys.stdin:
    folder, module, name = json.loads(line)
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            sys.path.insert(0, folder)
            cls = getattr(importlib.import_module(module), name)
            found = [cls().unique_id, airflow_kart.identity.code.fingerprint_parts(cls)]
        except BaseException as error:
            found = [repr(error), {}]
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with open(read) as stream:
        print(stream.read(), flush=True)
    os.wait()
"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """The unique id of a task of a project, and the parts of its code, each found out in a process of its own."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdin is not None

        def answer(folder: Path, module: str = "shop.tasks", name: str = "Train") -> Any:
            print(json.dumps([str(folder), module, name]), file=server.stdin, flush=True)
            assert server.stdout is not None
            unique_id, parts = json.loads(server.stdout.readline())
            assert len(unique_id) == 32, unique_id
            return unique_id, parts

        yield answer
        server.stdin.close()


def write_project(folder: Path, edit: tuple[str, str, str] | None = None) -> Path:
    for name, text in PROJECT.items():
        text = textwrap.dedent(text)
        if edit is not None and edit[0] == name:
            assert edit[1] in text
            text = text.replace(edit[1], edit[2])
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return folder


@pytest.fixture(scope="module")
def unedited(ask: Ask, tmp_path_factory: Any) -> Any:
    return ask(write_project(tmp_path_factory.mktemp("unedited")))


@pytest.mark.parametrize("edit", COUNTS.values(), ids=COUNTS)
def test_what_counts(edit: Any, ask: Ask, unedited: Any, tmp_path: Path) -> None:
    assert ask(write_project(tmp_path, edit))[0] != unedited[0]


@pytest.mark.parametrize("edit", DOES_NOT_COUNT.values(), ids=DOES_NOT_COUNT)
def test_what_does_not_count(edit: Any, ask: Ask, unedited: Any, tmp_path: Path) -> None:
    assert ask(write_project(tmp_path, edit)) == unedited


def test_the_golden_id(unedited: Any) -> None:
    assert unedited[0] == "fb6d1b31665c07c67e02ddbec272cf01"


def test_the_parts_say_what_changed(ask: Ask, unedited: Any, tmp_path: Path) -> None:
    _, parts = ask(write_project(tmp_path, ("shop/later.py", "405", "0")))
    changed = {name for name in parts.keys() | unedited[1].keys() if parts.get(name) != unedited[1].get(name)}
    assert changed == {"shop.later.latest"}


def test_only_code_of_the_project_is_a_part(unedited: Any) -> None:
    assert {name.partition(".")[0] for name in unedited[1]} == {"shop", "space"}
    assert {"shop.tasks.Upstream", "shop.tasks.Fixed"}.isdisjoint(unedited[1])
    assert "shop.tasks.Made" in unedited[1]


# However the file was loaded.

PIPELINE = """
import json
from airflow_kart import TaskOnKart
from sub.helpers import clean

class Thing(TaskOnKart):
    code_version = "auto"
    def run(self):
        self.dump(clean(1))

def report():
    from airflow_kart.identity.code import fingerprint_parts
    print(json.dumps([Thing().unique_id, fingerprint_parts(Thing), __name__]))

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


def search_path(*folders: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])}


def test_a_file_has_one_fingerprint_however_it_was_loaded(tmp_path: Path, python: Any, script: Any) -> None:
    load = script("load.py", AS_AIRFLOW_LOADS)
    sha = "3f786850e387550fdab836ed7e6dc881de23001b"
    checkouts = [tmp_path / f"bundles/team/versions/{sha[::step]}" for step in (1, -1)]
    folders = [tmp_path / "dags", *checkouts, tmp_path / "lib"]
    for folder in folders:
        (folder / "sub").mkdir(parents=True)
        (folder / "sub/pipe.py").write_text(PIPELINE)
        (folder / "sub/helpers.py").write_text("def clean(x):\n    return x + 1\n")
    dags, one, other, lib = folders
    storage = {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(tmp_path / "bundles")}
    dags_folder = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)}
    ways: list[tuple[list[Any], dict[str, str]]] = [
        ([load, dags / "sub/pipe.py"], {**dags_folder, **search_path(dags)}),
        ([dags / "sub/pipe.py"], {**dags_folder, **search_path(dags)}),
        (["-m", "sub.pipe"], {**dags_folder, **search_path(dags)}),
        (["-c", "import dags.sub.pipe as p; p.report()"], {**dags_folder, **search_path(tmp_path, dags)}),
        ([load, one / "sub/pipe.py"], {**storage, **search_path(one)}),
        ([load, other / "sub/pipe.py"], {**storage, **search_path(other)}),
        (["-c", "import sub.pipe; sub.pipe.report()"], search_path(lib)),
    ]
    found = [json.loads(python(*how, env={**env, "PYTHONDONTWRITEBYTECODE": "1"})) for how, env in ways]
    assert len({name for *_, name in found}) == 6
    assert {"sub.helpers.clean", "sub.pipe.Thing"} <= found[0][1].keys()
    assert all(each[:2] == found[0][:2] for each in found)


def test_three_processes_agree(python: Any, tmp_path: Path) -> None:
    write_project(tmp_path)
    code = "from shop.tasks import Train; print(Train().unique_id)"
    environment = search_path(tmp_path)
    assert len({python(code=code, env={**environment, "PYTHONHASHSEED": str(seed)}) for seed in range(3)}) == 1


def test_a_worker_process_agrees(tmp_path: Path, python: Any, script: Any) -> None:
    script("sub/helpers.py", "def clean(x):\n    return x + 1\n")
    file = script(
        "sub/pipe.py",
        PIPELINE.replace("    report()", "    from airflow_kart import build\n    build(Above(), workers=2)").replace(
            "def report",
            "class Above(TaskOnKart):\n    def requires(self):\n        return [Thing(), Below()]\n"
            "    def run(self):\n        self.dump(self.load())\n\nclass Below(Thing):\n    pass\n\ndef report",
        ),
    )
    python(file, env={**search_path(tmp_path), "AIRFLOW__KART__WORKSPACE_DIRECTORY": str(tmp_path / "ws")})
    assert len(list((tmp_path / "ws").rglob("*.kart.json"))) == 3


def test_an_installed_package_counts_as_it_does_in_its_checkout(ask: Ask, unedited: Any, tmp_path: Path) -> None:
    write_project(tmp_path / "site-packages")
    _, parts = ask(tmp_path / "site-packages")
    shop = {name: part for name, part in unedited[1].items() if name.startswith("shop.")}
    assert parts.keys() == shop.keys()


def test_what_is_installed_inside_the_project_does_not_count(ask: Ask, unedited: Any, tmp_path: Path) -> None:
    write_project(tmp_path)
    installed = tmp_path / "env/lib/site-packages"
    installed.mkdir(parents=True)
    (tmp_path / "shop/dotted.py").write_text(
        f"import sys\nsys.path.append({str(installed)!r})\nfrom third import function\n"
    )
    (installed / "third.py").write_text("def function(x):\n    return 1\n")
    first = ask(tmp_path)
    (installed / "third.py").write_text("def function(x):\n    return 2\n")
    assert ask(tmp_path) == first
    assert not any("third" in name for name in first[1])


# Loaded code against edited files.


def test_an_edit_counts_when_the_module_is_loaded_anew(python: Any, script: Any, tmp_path: Path) -> None:
    script("helpers.py", "def clean():\n    return 1\n")
    script(
        "pipe.py",
        "import helpers\nfrom airflow_kart import TaskOnKart\nclass A(TaskOnKart):\n"
        "    code_version = 'auto'\n    def run(self):\n        self.dump(helpers.clean())\n",
    )
    code = """
import importlib, pathlib, sys
sys.path.insert(0, ".")
sys.dont_write_bytecode = True
import helpers, pipe
first = pipe.A().unique_id
pathlib.Path("helpers.py").write_text("def clean():\\n    return 1111\\n")
assert pipe.A().unique_id == first
importlib.reload(helpers)
assert pipe.A().unique_id != first
pathlib.Path("helpers.py").write_text("def clean():\\n    return 1\\n")
importlib.reload(helpers)
assert pipe.A().unique_id == first
"""
    python(code=code)


def test_a_module_that_is_not_loaded_is_read_again(python: Any, script: Any) -> None:
    script("later.py", "VALUE = 1\n")
    script(
        "pipe.py",
        "from airflow_kart import TaskOnKart\nclass A(TaskOnKart):\n    code_version = 'auto'\n"
        "    def run(self):\n        import later\n        self.dump(later.VALUE)\n",
    )
    code = """
import pathlib, sys
sys.path.insert(0, ".")
import pipe
first = pipe.A().unique_id
pathlib.Path("later.py").write_text("VALUE = 22\\n")
assert pipe.A().unique_id != first
"""
    python(code=code)


# Classes, and what is said of them.


class Auto(TaskOnKart[int]):
    code_version = "auto"

    def run(self) -> None:
        self.dump(1)


class Below(Auto):
    pass


class Inner:
    class Task(TaskOnKart[int]):
        code_version = "auto"


def make_class() -> type[TaskOnKart[int]]:
    class Local(TaskOnKart[int]):
        code_version = "auto"

    return Local


def definitions_of(cls: type) -> list[str]:
    """Return the parts of a class's fingerprint, without the methods and attributes of classes."""
    names = fingerprint_parts(cls)
    return [name for name in names if name.rpartition(".")[0] not in names]


def test_a_subclass_is_fingerprinted_with_its_base() -> None:
    assert Below.code_version == "auto"
    assert definitions_of(Below) == ["test_identity_code.Auto", "test_identity_code.Below"]
    assert list(fingerprint_parts(Below))[1:3] == ["test_identity_code.Auto.code_version", "test_identity_code.Auto.run"]


@pytest.mark.parametrize(("cls", "part"), [(Inner.Task, "Inner"), (make_class(), "make_class")])
def test_a_class_inside_something_counts_with_it(cls: type, part: str) -> None:
    assert definitions_of(cls) == [f"test_identity_code.{part}"]


def test_a_fingerprint_is_made_of_the_parts() -> None:
    assert len(fingerprint(Auto)) == 32
    assert fingerprint(Auto) != fingerprint(Below)
    assert all(len(part) == 16 for part in fingerprint_parts(Below).values())


def test_the_sidecar_records_the_fingerprint(workspace: Path) -> None:
    build(Auto())
    sidecar = Auto().output().sidecar()
    assert sidecar is not None
    assert sidecar.content["task"]["code_version"] == "auto"
    assert sidecar.content["source"]["fingerprint"] == fingerprint(Auto)
    assert sidecar.content["source"]["parts"] == fingerprint_parts(Auto)


class Versioned(Auto):
    code_version = "1"


def test_the_sidecar_records_the_fingerprint_of_other_tasks_too(workspace: Path) -> None:
    build(Versioned())
    sidecar = Versioned().output().sidecar()
    assert sidecar is not None
    assert sidecar.content["source"]["fingerprint"] == fingerprint(Versioned)
    assert sidecar.content["source"]["parts"] == fingerprint_parts(Versioned)


def test_a_sidecar_leaves_out_parts_that_are_too_many(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(Auto):
        pass

    monkeypatch.setattr(source, "_MOST_PARTS", 1)
    build(Large())
    assert "parts" not in Large().output().sidecar().content["source"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class A(TaskOnKart):\n    code_version = 'auto'", "__main__ has no source file"),
        (
            "exec('class A(TaskOnKart):\\n    code_version = \"auto\"', {**globals(), '__name__': 'made'})",
            "made has no source",
        ),
        ("import built; A = built.A", "built has no source file"),
        ("import dynamic; A = dynamic.A", "dynamic.py does not define Named"),
        ("import broken; A = broken.A", "wrong.py cannot be fingerprinted: SyntaxError"),
    ],
)
def test_what_has_no_source_is_an_error(code: str, message: str, python: Any, script: Any, tmp_path: Path) -> None:
    text = "from airflow_kart import TaskOnKart\nclass A(TaskOnKart):\n    code_version = 'auto'\n"
    source = script("built.py", text)
    python("-c", "import py_compile; py_compile.compile('built.py', cfile='built.pyc')")
    source.unlink()
    script("dynamic.py", "from airflow_kart import TaskOnKart\nA = type('Named', (TaskOnKart,), {'code_version': 'auto'})\n")
    script("broken.py", text + "    def run(self):\n        import wrong\n        self.dump(wrong)\n")
    script("wrong.py", "print 'Python 2'\n")
    exec_catches = (
        "import sys; sys.path.insert(0, '.')\nfrom airflow_kart import TaskOnKart\nfrom airflow_kart.exceptions import *\n"
        "found = {}\n" + code.replace("globals(),", "globals(), 'found': found,") + "\n"
    )
    exec_catches += "A = globals().get('A') or TaskOnKart.__subclasses__()[-1]\n"
    exec_catches += "try:\n    A().unique_id\nexcept IdentityError as error:\n    print(error)\n"
    printed = python(code=exec_catches)
    assert message in printed
    assert "code_version" in printed


def test_a_run_without_auto_needs_no_source(python: Any) -> None:
    code = "from airflow_kart import *\nclass A(TaskOnKart):\n    def run(self): self.dump(1)\nprint(build(A(), workspace_directory='w'))"
    assert python(code=code).splitlines()[-1] == "1"


# The canonical form.

SAMPLE = '''
@decorate(1, key="v")
def function(a, /, b=1.5, *c, d: int = 2, **e) -> None:
    """Docstring."""
    global COUNT
    COUNT += 1
    x: int = 10_000
    y = f"{a!r:>{b}} and {c=} {{}} {d:%Y}" "tail" rf"\\{e}"
    z = b"\\x00" + ("a" "b").encode() if not a else None
    with open(a) as f, g:
        del f[0], g[1:2, ...]
    try:
        raise ValueError(y) from None
    except (TypeError, ValueError) as error:
        pass
    else:
        return
    finally:
        assert z, "text"
    match a:
        case {"k": [1, *rest], **more} if rest:
            yield more
        case Point(x=0) | None | -1 as p:
            yield from p
    return [i async for i in a if (n := i)], {**e}, {*c}, lambda q=1j: (yield), x if y < z <= 3 is not None else ...

class Class(Base[int], metaclass=Meta):
    field: "list[int]" = 5
    declared: str
    operator_kwargs = {"retries": 3}
    async def method(self):
        await self.x.y[0](*args, **kwargs)
        async with a: pass
        async for b in c: break
        else: continue
        while True: nonlocal_ = 99999999999999999999999999999999
'''


def test_the_form_is_the_same_in_every_python() -> None:
    form = canonical(*ast.parse(SAMPLE).body)
    assert hashlib.sha256(form).hexdigest() == "0054334abc14042ddfb6075e4278d3182ddcfbf48b85f3f5d6c37f075d501a6c"


def statements_of_this_package() -> list[str]:
    files = sorted(Path(airflow_kart.__file__).parent.rglob("*.py"))
    return [file.read_text() for file in files if "fingerprint" in file.parts or file.stem in ("task", "target", "identity")]


SOURCES = statements_of_this_package()


def form_of(source: str) -> tuple[bytes, Any]:
    body = ast.parse(source).body
    return canonical(*body), references_of(*body)


@given(st.sampled_from(SOURCES))
def test_writing_code_anew_keeps_its_form(source: str) -> None:
    assert form_of(ast.unparse(ast.parse(source))) == form_of(source)


@given(st.sampled_from(SOURCES), st.data())
def test_comments_and_blank_lines_keep_the_form(source: str, data: Any) -> None:
    ends = [
        token.start[0] for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.NEWLINE
    ]
    additions = data.draw(
        st.dictionaries(
            st.sampled_from(ends),
            st.lists(st.sampled_from(["", "# a comment", "        # deeper", "   "]), min_size=1, max_size=3),
            min_size=1,
            max_size=20,
        )
    )
    lines = source.splitlines()
    edited = [line for number, line in enumerate(lines, 1) for line in [line, *additions.get(number, [])]]
    assert form_of("\n".join(edited) + "\n") == form_of(source)


CONSTANTS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False, min_value=0)
    | st.text()
    | st.binary()
    | st.just(...)
)


@given(CONSTANTS, CONSTANTS)
def test_different_constants_have_different_forms(one: Any, other: Any) -> None:
    same = type(one) is type(other) and repr(one) == repr(other)
    assert (canonical(ast.Constant(one)) == canonical(ast.Constant(other))) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(a, b)", "f(a)(b)"),
        ("x = 1\ny = 2", "x = y = 1"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("f'a{b}c'", "f'a' + f'{b}c'"),
        ("{**a}", "{a: a}"),
        ("def f(a, *, b): 1", "def f(a, b): 1"),
        ("def f(a, /, b): return 1", "def f(a, b): return 1"),
        ("def f(*, a, b=1): return 1", "def f(*, a=1, b): return 1"),
        ("match a:\n    case None: b", "match a:\n    case _: b"),
        ("a < b < c", "a < b > c"),
        ("for a in b: c\nelse: d", "for a in b: c; d"),
        ("x[a:b]", "x[a::b]"),
        ("global a", "global b"),
        ("from a import b", "from .a import b"),
        ("from . import b", "from .. import b"),
        ("class A:\n    x: int", "class A:\n    x: str"),
        ("async def f(): return 1", "def f(): return 1"),
        ("'s1:a'", "'s1:b'"),
    ],
)
def test_different_code_has_different_forms(one: str, other: str) -> None:
    assert canonical(*ast.parse(one).body) != canonical(*ast.parse(other).body)


def test_deeply_nested_code_has_a_form() -> None:
    deep = ast.parse("x = " + " + ".join(["a"] * 900))
    assert canonical(deep)
    assert {reference.source for reference in references_of(deep)} == {"a"}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def f(a): return a + b", {"b"}),
        ("def f():\n    a = 1\n    def g(): return a\n    return g", set()),
        ("def f():\n    def g():\n        nonlocal a\n        a = b\n    a = 1", {"b"}),
        ("def f():\n    global a\n    a = 1", {"a"}),
        ("def f(): return [a for a in b if a and c]", {"b", "c"}),
        ("def f(a): return [a for a in a]", set()),
        ("def f(): return [a for a in a]", {"a"}),
        ("def f():\n    [b := a for a in c]\n    return b", {"c"}),
        ("def f():\n    for i in a: pass\n    else: i", {"a"}),
        ("def f():\n    with a as b: b", {"a"}),
        ("def f():\n    try: a\n    except b as c: c", {"a", "b"}),
        ("def f(x):\n    match x:\n        case A(y=z) | [*z]: z\n        case {'k': v, **rest}: rest, v", {"A"}),
        ("def f(a=b, *, c=d): return lambda e=g: e", {"b", "d", "g"}),
        ("class A:\n    x = 1\n    def f(self): return x", {"x"}),
        ("class A:\n    x = 1\n    y = x", {"x"}),
        ("class A(B, metaclass=C):\n    x: D = E", {"B", "C", "D", "E"}),
        ("@a.b(c)\ndef f() -> d: pass", {"a", "c", "d"}),
        ("def f(x: a) -> b: pass", set()),
        ("def f():\n    class a: pass\n    def b(): pass\n    return a, b", set()),
        ("def f():\n    del a\n    return a", set()),
        ("def f(): return f'{a:{b}}'", {"a", "b"}),
    ],
)
def test_free_names_follow_the_rules_of_scope(code: str, names: set[str]) -> None:
    assert {reference.source for reference in references_of(*ast.parse(code).body)} == names


# Speed.


def test_a_large_project_takes_a_moment(script: Any, python: Any, tmp_path: Path) -> None:
    for number in range(10):
        lines = ["from airflow_kart import TaskOnKart", *([f"from big.m{number - 1} import *"] if number else [])]
        for each in range(20):
            lines += [f"C{number}_{each} = {each}", f"def f{number}_{each}(x):"]
            lines += [f"    x = x + {line} * C{number}_{each}" for line in range(15)]
            lines += [
                f"    return f{number}_{each - 1}(x)" if each else "    return x",
                f"class T{number}_{each}(TaskOnKart):",
            ]
            lines += ["    code_version = 'auto'", "    def run(self):", f"        self.dump(f{number}_{each}(1))"]
            lines += [f"        f{max(0, number - 1)}_{each}({line})" for line in range(5)]
        script(f"big/m{number}.py", "\n".join(lines))
    code = """
import importlib, sys, time
sys.path.insert(0, ".")
classes = [getattr(importlib.import_module(f"big.m{m}"), f"T{m}_{n}") for m in range(10) for n in range(20)]
started = time.process_time()
for cls in classes:
    cls().unique_id
print(time.process_time() - started)
"""
    script("big/__init__.py", "")
    assert sum(len(file.read_text().splitlines()) for file in tmp_path.glob("big/*.py")) > 5000
    assert float(python(code=code)) < 2.0  # seconds; 0.4 where nothing else runs
