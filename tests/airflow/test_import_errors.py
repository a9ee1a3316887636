"""What is wrong with a DAG file is an import error that says so."""

from __future__ import annotations

import textwrap

import pytest

WRONG = {
    "a cycle": (
        """
        class A(TaskOnKart[int]):
            def requires(self): return A()
        KartDag("wrong", A(), schedule=None)
        """,
        "the tasks require each other in a circle: A() -> A()",
    ),
    "requires returns no task": (
        """
        class A(TaskOnKart[int]):
            def requires(self): return {"x": [1]}
        KartDag("wrong", A(), schedule=None)
        """,
        "A().requires() returned 1 at ['x'][0], which is not a task",
    ),
    "requires returns a class": (
        """
        class A(TaskOnKart[int]): pass
        class B(TaskOnKart[int]):
            def requires(self): return A
        KartDag("wrong", B(), schedule=None)
        """,
        "which is not a task; make an instance: A()",
    ),
    "requires fails": (
        """
        class A(TaskOnKart[int]):
            def requires(self): return {}["x"]
        KartDag("wrong", A(), schedule=None)
        """,
        "A().requires() failed: KeyError: 'x'",
    ),
    "unknown extension": (
        """
        class A(TaskOnKart[int]):
            def output(self): return self.make_target("a.xyz")
        KartDag("wrong", A(), schedule=None)
        """,
        "'a.xyz' ends with .xyz, which no format handles; use one of .csv, .csv.gz",
    ),
    "a path that leaves the workspace": (
        """
        class A(TaskOnKart[int]):
            def output(self): return self.make_target("../a.pkl")
        KartDag("wrong", A(), schedule=None)
        """,
        "is not a file below the workspace",
    ),
    "two outputs at one path": (
        """
        class A(TaskOnKart[int]):
            def output(self): return [self.make_target("a.pkl"), self.make_target("a.pkl")]
        KartDag("wrong", A(), schedule=None)
        """,
        "A().output(): [0] and [1] are the same file",
    ),
    "two tasks at one path": (
        """
        class A(TaskOnKart[int]):
            n: int = IntParameter()
            def output(self): return self.make_target("a.pkl", use_unique_id=False)
        class B(TaskOnKart[int]):
            def requires(self): return [A(n=1), A(n=2)]
        KartDag("wrong", B(), schedule=None)
        """,
        "A(n=1) and A(n=2) both write",
    ),
    "a value without a canonical form": (
        """
        class Anything(Parameter):
            def normalize(self, value): return value
        class A(TaskOnKart[int]):
            x: object = Anything()
        KartDag("wrong", A(x=object()), schedule=None)
        """,
        "A.x: a builtins.object has no canonical form",
    ),
    "a wrong value": (
        """
        class A(TaskOnKart[int]):
            n: int = IntParameter()
        KartDag("wrong", A(n="1"), schedule=None)
        """,
        "A.n: give an int, not str '1'",
    ),
    "a wrong default": (
        """
        class A(TaskOnKart[int]):
            n: int = IntParameter(default="1")
        KartDag("wrong", A(), schedule=None)
        """,
        "A.n (default): give an int, not str '1'",
    ),
    "a missing parameter": (
        """
        class A(TaskOnKart[int]):
            n: int = IntParameter()
        KartDag("wrong", A(), schedule=None)
        """,
        "A needs the parameter n",
    ),
    "an unknown parameter": (
        """
        class A(TaskOnKart[int]):
            depth: int = IntParameter(default=1)
        KartDag("wrong", A(dept=1), schedule=None)
        """,
        "A has no parameter dept; did you mean depth?",
    ),
    "a sample that does not suit": (
        """
        import datetime as dt
        class A(TaskOnKart[int]):
            day: dt.date = DateParameter()
            def requires(self): return {dt.date(2024, 1, 1): []}[self.day]
        KartDag("wrong", A, bind={"day": run_date()}, schedule=None)
        """,
        "compiled with day=datetime.date(2021, 3, 17); a parameter's compile_value changes its sample: ",
    ),
    "requires fails with an error of this package": (
        """
        class B(TaskOnKart[int]):
            def requires(self):
                from airflow_kart.exceptions import BindingError
                raise BindingError("there is no such market")
        KartDag("wrong", B(), schedule=None)
        """,
        "there is no such market",
    ),
    "a workspace in no known store": (
        """
        class A(TaskOnKart[int]): pass
        KartDag("wrong", A(), schedule=None, workspace_directory="nosuch://host/x")
        """,
        "no store keeps nosuch:// uris",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_import_errors_that_say_why(parse, case):
    source, message = WRONG[case]
    bag = parse(source)
    assert bag.dags == {}
    (error,) = bag.import_errors.values()
    assert message in error


PLACES = {
    "requires fails": ("def requires(self)", "A.requires"),
    "a cycle": ("KartDag(", "A.requires"),
    "unknown extension": ("def output(self)", "A.output"),
    "two outputs at one path": ("KartDag(", "A.output"),
    "a wrong value": ('KartDag("wrong", A(n="1")', None),
    "a wrong default": ("class A", None),
    "a sample that does not suit": ("def requires(self)", "A.requires"),
}


@pytest.mark.parametrize("case", PLACES)
def test_an_import_error_is_one_traceback_of_the_users_code(parse, monkeypatch, case):
    """The UI shows the last two frames only, unless told otherwise."""
    source, _ = WRONG[case]
    (short,) = parse(source).import_errors.values()
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_ERROR_TRACEBACK_DEPTH", "99")
    (whole,) = parse(source).import_errors.values()
    line, method = PLACES[case]
    for error in (short, whole):
        assert error.count("Traceback (most recent call last)") == 1
        *_, last = [part for part in error.split('  File "') if part]
        assert "pipeline.py" in last.splitlines()[0]
        assert last.splitlines()[1].strip().startswith(line)
        assert method is None or error.splitlines()[-1].rpartition(" [")[2].startswith(f"{method}, ")


def test_the_traceback_goes_through_the_users_functions(parse):
    source = """
    def market(name):
        return {}[name]
    class A(TaskOnKart[int]):
        def requires(self): return market("x")
    with DAG("own", schedule=None):
        KartTaskGroup("group", A())
    """
    (error,) = parse("from airflow.sdk import DAG\n" + textwrap.dedent(source)).import_errors.values()
    frames = [part.splitlines()[0].rpartition(", in ")[2] for part in error.split('  File "')[1:]]
    assert frames == ["requires", "market"]
    assert "KartTaskGroup 'group': A().requires() failed: KeyError: 'x' [market, " in error
