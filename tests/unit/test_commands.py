"""The command line, as far as it needs no service."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_kart import TaskOnKart, Workspace, build
from airflow_kart.cli.command import COMMANDS
from airflow_kart.cli.duration import duration, duration_text
from airflow_kart.cli.main import main


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("24h", 86400), ("7d", 604800), (" 5 s ", 5), ("0h", 0), ("99999d", 99999 * 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "1h30", "100000d", "٣h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration; write a number and d, h, m or s, such as 24h"):
        duration(text)


@given(st.timedeltas(min_value=dt.timedelta(), max_value=dt.timedelta(days=99_999)))
def test_the_text_of_a_duration_is_short_of_it_by_less_than_its_last_unit(length: dt.timedelta) -> None:
    words = duration_text(length).split()
    assert len(words) <= 2
    short = length - sum(map(duration, words), dt.timedelta())
    below = {"d": "1h", "h": "1m", "m": "1s", "s": "1s"}[words[0][-1]]
    assert dt.timedelta() <= short < duration(below)


def test_texts_of_durations() -> None:
    assert [duration_text(dt.timedelta(seconds=seconds)) for seconds in (-5, 0, 59, 60, 3661, 86400, 90000)] == [
        "0s",
        "0s",
        "59s",
        "1m",
        "1h 1m",
        "1d",
        "1d 1h",
    ]


@pytest.mark.parametrize(
    "words", [[], ["nothing"], ["uploads", "--older-than", "soon"], ["uploads", "--output", "xml"], ["uploads", "a", "b"]]
)
def test_words_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: airflow-kart" in capsys.readouterr().err


LIGHT = """
import json, sys
from airflow_kart.get_provider_info import get_provider_info
from airflow_kart.cli import main
light = sorted(sys.modules)
from airflow_kart.cli.definition import get_kart_commands
from airflow.cli.cli_config import GroupCommand
before = set(sys.modules)
groups = get_kart_commands()
assert all(isinstance(group, GroupCommand) for group in groups)
print(json.dumps([light, sorted(set(sys.modules) - before), sorted(sys.modules)]))
"""


def test_the_commands_load_nothing_before_they_run(python: Callable[..., str]) -> None:
    alone, added, all_loaded = json.loads(python(code=LIGHT).splitlines()[-1])
    heavy = {"boto3", "botocore", "google.cloud.storage", "numpy", "pandas", "pyarrow", "requests"}
    assert not {"airflow", *heavy} & set(alone)
    assert added == []
    assert not heavy & set(all_loaded)


def test_the_provider_names_its_commands() -> None:
    from airflow_kart.cli.definition import get_kart_commands
    from airflow_kart.get_provider_info import get_provider_info

    assert get_provider_info()["cli"] == [f"{get_kart_commands.__module__}.{get_kart_commands.__name__}"]


class Noted(TaskOnKart[int]):
    def run(self) -> None:
        self.dump(1, custom_labels={"of": "two\x1blabels"})


RUN = """
import json, sys
class Errors:
    def write(self, text):
        return sys.__stdout__.write(text.replace("printed by run()", "printed by run() to stderr"))
    def flush(self):
        sys.__stdout__.flush()
sys.stderr = Errors()
from airflow_kart.cli.main import main
for words in json.loads(sys.argv[1]):
    print("$", *words)
    try:
        main(words)
    except SystemExit as error:
        print(error)
"""
PIPELINE = """
from airflow_kart import IntParameter, TaskOnKart

class Train(TaskOnKart[int]):
    code_version = "1"
    depth: int = IntParameter(default=1)
    def run(self):
        print("printed by run()")
        self.dump(self.depth)
"""
MAKE = "import pipeline; from airflow_kart import build; build(pipeline.Train()); build(pipeline.Train(depth=2))"
"""In one process for all tests: a command loads Airflow."""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What several commands print, line by line, by their words."""
    home = tmp_path_factory.mktemp("commands")
    directories = ["memory://x", "abfs://c@x/y", "gopher://x"]
    commands = [
        ["uploads", "-o", "json"],
        ["uploads", "here", "--abort"],
        ["uploads", "-w", "there", "--abort"],
        *(["uploads", each] for each in directories),
    ]
    adopt = ["adopt", "-o", "json", "--reason", "a comment", "--by", "[/me]"]
    commands += [
        [*adopt, "dags/pipeline.py:Train", "--dry-run"],
        [*adopt, "Train", "--verify", "1"],
        [*adopt, "pipeline.Train", "--each"],
        ["adopt", "-o", "table", "--undo", "--dry-run", "Train"],
        ["adopt", "-o", "plain", "--undo", "Train"],
        ["adopt", "-o", "json", "Train"],
        [*adopt, "Trane"],
        [*adopt, "dags/pipeline.py:Train", "-w", "elsewhere"],
        [*adopt, "dags/pipeline.py:Trane"],
        [*adopt, "no.module:Train"],
        [*adopt, "no/file.py:Train"],
        ["reindex", "-o", "json"],
        ["ls"],
        ["ls", "--by", "month", "-o", "json"],
        ["ls", "Train", "-n", "1", "-o", "plain"],
        ["ls", "Trane"],
        ["show", "Train(depth=2)"],
        ["show", "Train", "-o", "yaml"],
        ["tree", "Train(depth=1)"],
        ["lineage", "Train", "-o", "json"],
        ["reindex", "-w", "memory://x", "-o", "json"],
        ["gc"],
        ["gc", "--keep", "Train(depth=3)"],
        ["gc", "--keep", "dags/pipeline.py:Train(width=2)"],
        ["gc", "--keep-last", "1", "--grace", "0s"],
        ["gc", "--keep", "dags/pipeline.py:Train(depth=2)"],
        ["gc", "--keep", "Train(depth=2)", "--grace", "0s", "--delete", "-o", "json"],
        ["gc", "Train", "--grace", "0s", "--delete"],
    ]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment = {**kept, "AIRFLOW_HOME": str(home), "AIRFLOW__KART__WORKSPACE_DIRECTORY": str(home / "ws")}
    dags = home / "dags"
    dags.mkdir()
    (dags / "pipeline.py").write_text(PIPELINE)
    for code, cwd, *words in ((MAKE, dags), (RUN, home, json.dumps(commands))):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            env=environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (dags / "pipeline.py").write_text(PIPELINE.replace('"1"', '"2 (a comment)"'))
    lines: dict[str, list[str]] = {}
    for line in done.stdout.replace(str(home), "HOME").splitlines():
        if line.startswith("$ "):
            lines[line[2:]] = []
        else:
            lines[next(reversed(lines))].append(line)
    return lines


def test_uploads_on_a_disk(said: dict[str, list[str]]) -> None:
    assert said["uploads -o json"] == ["[]"]
    assert said["uploads here --abort"] == ["aborted 0 uploads begun more than 1d ago in HOME/here/"]
    assert said["uploads -w there --abort"] == ["aborted 0 uploads begun more than 1d ago in HOME/there/"]


def test_garbage(said: dict[str, list[str]]) -> None:
    assert said["gc"][0].startswith("nothing says what stays, and everything would go")
    assert said["gc --keep Train(depth=3)"][0].endswith("has artifacts of Train, but none that fits")
    (line,) = said["gc --keep dags/pipeline.py:Train(width=2)"]
    assert line == "Train has no parameter width; did you mean depth?"
    heading, _, *rows, sums, dry = said["gc --keep-last 1 --grace 0s"]
    assert heading.split() == ["fate", "task", "count", "size", "oldest", "newest", "why"]
    assert [row.split()[:4] for row in rows if "pipeline.Train" in row] == [
        ["goes", *rows[0].split()[1:4]],
        ["stays", *rows[-1].split()[1:4]],
    ]
    assert sums.endswith("stay (5 B)")
    assert dry == "a dry run: nothing was removed; --delete removes what goes"
    (line,) = said["gc --keep dags/pipeline.py:Train(depth=2)"]  # whose code_version is another one now
    assert line.endswith("has no artifact to keep of: dags/pipeline.py:Train(depth=2)")
    found = json.loads("".join(said["gc --keep Train(depth=2) --grace 0s --delete -o json"]))
    assert {(row["fate"], row["task"]) for row in found} == {
        ("gone", "pipeline.Train"),
        ("gone", "(index)"),
        ("stays", "pipeline.Train"),
    }
    assert found[0] == {**found[0], "count": 1, "bytes": 5, "why": "nothing keeps it"}
    assert said["gc Train --grace 0s --delete"][-1].startswith("1 gone (5 B)")


ADOPT = "adopt -o json --reason a comment --by [/me]"


def test_an_adoption(said: dict[str, list[str]]) -> None:
    *rows, dry = said[f"{ADOPT} dags/pipeline.py:Train --dry-run"]
    (row,) = json.loads("".join(rows))
    assert (row["outcome"], row["tasks"], row["reason"]) == ("adopted", 2, "a comment")
    assert dry == "a dry run: nothing was changed"
    printed, *rows = said[f"{ADOPT} Train --verify 1"]
    assert (printed, json.loads("".join(rows))) == ("printed by run() to stderr", [row])
    each = json.loads("".join(said[f"{ADOPT} pipeline.Train --each"]))
    assert {(one["outcome"], one["task"]) for one in each} == {("there", "Train(depth=1)"), ("there", "Train(depth=2)")}
    assert all(one["new_id"] != one["unique_id"] for one in each)
    assert "was adopted by [/me]: a comment" in " ".join(said["adopt -o table --undo --dry-run Train"])
    assert "undone" in " ".join(said["adopt -o plain --undo Train"])


def test_classes_that_are_not_found(said: dict[str, list[str]]) -> None:
    (line,) = said["adopt -o json Train"]
    assert line == "adopt(): say in reason why the change does not matter; verify is a number, no version is empty"
    assert said[f"{ADOPT} Trane"] == ["Trane: the workspace HOME/ws has no artifact of such a class; give the logical name"]
    (line,) = said[f"{ADOPT} dags/pipeline.py:Train -w elsewhere"]
    assert line.endswith("/elsewhere has no artifact of pipeline.Train")
    assert said[f"{ADOPT} dags/pipeline.py:Trane"] == ["dags/pipeline.py has no class Trane"]
    assert said[f"{ADOPT} no.module:Train"][0].startswith("no.module cannot be imported: ModuleNotFoundError: ")
    assert said[f"{ADOPT} no/file.py:Train"][0].startswith("no/file.py cannot be imported: FileNotFoundError: ")


def test_an_index_written_anew(said: dict[str, list[str]]) -> None:
    (found,) = json.loads("".join(said["reindex -o json"]))
    assert found == {"right": 2, "written": 0, "removed": 2}
    assert json.loads("".join(said["reindex -w memory://x -o json"]))[0]["right"] == 0


def test_artifacts_are_listed_and_shown(said: dict[str, list[str]]) -> None:
    assert said["ls"][0].split() == ["task", "artifacts", "size", "computed", "in", "hits", "saved", "newest"]
    assert said["ls"][2].split()[:3] == ["pipeline.Train", "2", "10"]
    (month,) = json.loads("".join(said["ls --by month -o json"]))
    assert month == {**month, "artifacts": 2, "bytes": 10}
    heading, row = said["ls Train -n 1 -o plain"]
    assert heading.split() == ["artifact", "made_at", "took", "size", "rows", "state", "unique_id"]
    assert row.startswith("Train(depth=2)")
    assert said["ls Trane"][0].endswith("no task matches 'Trane'; there are Train; did you mean Train?")
    told = dict(line.split(maxsplit=1) for line in said["show Train(depth=2)"] if len(line.split()) > 1)
    assert (told["state"], told["depth"]) == ("whole", "2")
    assert told["object"].startswith("builtins.int in the format pickle")
    assert "unique_id:" in "".join(said["show Train -o yaml"])
    assert said["tree Train(depth=1)"][0].startswith("Train(depth=1)  20")
    assert json.loads("".join(said["lineage Train -o json"])) == []


def test_where_uploads_are_not_listed(said: dict[str, list[str]]) -> None:
    memory, other, unknown = (said[f"uploads {each}"][0] for each in ("memory://x", "abfs://c@x/y", "gopher://x"))
    assert memory == "this command lists uploads on disks and in s3:// and gs:// directories only, not in memory://x/"
    assert other.endswith("not in abfs://c@x/y/; you may delete old files in the hidden folders .kart-uploads")
    assert unknown.startswith("no store keeps gopher:// uris")


def test_the_page_of_commands_has_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)", page, re.MULTILINE))
    assert {command.name for command in COMMANDS} <= listed
    common = {"-s", "-w", "-o", "-v", "--aws-conn-id", "--gcp-conn-id", "--workspace", "--output", "--verbose"}
    flags = {flag for command in COMMANDS for argument in command.arguments for flag in argument.flags if flag[:1] == "-"}
    assert {flag for flag in flags - common if f"{flag} " not in page and f"{flag}]" not in page} == set()


@pytest.mark.parametrize("output", ["table", "plain"])
def test_no_escape_sequence_of_a_pin_reaches_a_terminal(
    workspace: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    build(Noted())
    record = Workspace(str(workspace)).artifacts().latest()
    record.pin()
    Path(workspace, ".kart-pins", record.unique_id).write_text('{"by": "eve\\ud800\\u001b[2J\\n", "at": "\\u009b2J"}')
    main(["show", "Noted", "--workspace", str(workspace), "--output", output])
    told = capsys.readouterr().out
    assert "by eve\\ud800\\x1b[2J\\n at \\x9b2J UTC" in told
    assert all(char.isprintable() or char == "\n" for char in told)
    assert "two\\x1blabels" in told
