"""The command line, as far as it needs no service."""

from __future__ import annotations

import argparse
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


RUN = "import sys; sys.stderr = sys.stdout; from airflow_kart.cli.main import main; main(sys.argv[1:])"
"""In a process of its own: what runs a command loads Airflow."""


def test_on_a_disk_there_is_nothing_to_list(python: Callable[..., str], tmp_path: Path) -> None:
    workspace = {"AIRFLOW__KART__WORKSPACE_DIRECTORY": str(tmp_path / "ws")}
    nothing, said = python("uploads", "-o", "json", code=RUN, env=workspace).splitlines()
    assert nothing == "[]"
    assert said.startswith(f"{tmp_path}/ws/ is on a disk, where there is nothing to list: the next process")
    assert python("uploads", "here", "--abort", code=RUN).startswith(f"{tmp_path}/here/ is on a disk")


WHERE_NOT = """
import sys
sys.stderr = sys.stdout
from airflow_kart.cli.main import main
for directory in sys.argv[1:]:
    try:
        main(["uploads", directory])
    except SystemExit as error:
        print(error)
"""


def test_where_uploads_are_not_listed(python: Callable[..., str]) -> None:
    memory, other, unknown = python("memory://x", "abfs://c@x/y", "gopher://x", code=WHERE_NOT).splitlines()
    assert memory == "this command lists uploads in s3:// and gs:// directories only, not in memory://x/"
    assert other.endswith("not in abfs://c@x/y/; you may delete old files in the hidden folders .kart-uploads")
    assert unknown.startswith("no store keeps gopher:// uris")
