from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_kart import TaskOnKart, Workspace, settings
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.get_provider_info import get_provider_info
from airflow_kart.tasks.graph import Graph

# Where Airflow is loaded it answers for itself, so what reads airflow.cfg runs in a process without it.
ASK = """
import json
from airflow_kart import settings
print(json.dumps([settings.workspace_directory(), settings.kart_int("check_threads"), settings.kart_bool("fsync")]))
"""


@pytest.fixture
def ask(python: Any) -> Any:
    import json

    return lambda **env: json.loads(python(code=ASK, env={f"AIRFLOW__KART__{name}": value for name, value in env.items()}))


@pytest.fixture
def cfg(clean_settings: Path) -> Any:
    def write(text: str) -> Path:
        clean_settings.mkdir(exist_ok=True)
        file = clean_settings / "airflow.cfg"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_defaults_need_nothing(ask: Any, clean_settings: Path) -> None:
    assert ask() == [str(clean_settings / "kart_workspace"), 320, False]


def test_airflow_cfg_is_read(ask: Any, cfg: Any) -> None:
    cfg("[core]\nfernet_key = 100%\n[kart]\nworkspace_directory = /data\ncheck_threads = 4\nfsync = yes\n")
    assert ask() == ["/data", 4, True]


def test_the_environment_wins(ask: Any, cfg: Any) -> None:
    cfg("[kart]\nworkspace_directory = /data\ncheck_threads = 4\n")
    assert ask(WORKSPACE_DIRECTORY="/other", FSYNC="1") == ["/other", 4, True]


def test_airflow_config_names_another_file(python: Any, script: Any, tmp_path: Path) -> None:
    file = script("other.cfg", "[kart]\ncheck_threads = 3\n")
    assert ", 3, " in python(code=ASK, env={"AIRFLOW_CONFIG": str(file)})


def test_a_changed_file_is_read_again(python: Any, cfg: Any) -> None:
    file = cfg("[kart]\ncheck_threads = 1\n")
    code = f"""
import os, pathlib
from airflow_kart import settings
assert settings.kart_int("check_threads") == 1
file = pathlib.Path({str(file)!r})
file.write_text("[kart]\\ncheck_threads = 2\\n")
os.utime(file, (1, 1))
assert settings.kart_int("check_threads") == 2
"""
    python(code=code)


@pytest.mark.parametrize("text", ["no section = 1\n", "[kart\n"])
def test_a_broken_airflow_cfg_is_a_configuration_error(python: Any, cfg: Any, text: str) -> None:
    cfg(text)
    code = """
from airflow_kart import settings
from airflow_kart.exceptions import ConfigurationError
try:
    settings.kart_option("fsync")
except ConfigurationError:
    pass
"""
    python(code=code)


@pytest.mark.parametrize(
    ("configured", "directory"),
    [
        ("data", "{home}/data"),
        ("./a/../data", "{home}/a/../data"),
        ("/data", "/data"),
        ("s3://bucket/ws", "s3://bucket/ws"),
        ("~/ws", "{user}/ws"),
    ],
)
def test_a_relative_workspace_is_below_airflow_home(
    monkeypatch: pytest.MonkeyPatch, clean_settings: Path, tmp_path: Path, configured: str, directory: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir("/")
    monkeypatch.setenv("AIRFLOW__KART__WORKSPACE_DIRECTORY", configured)
    expected = directory.format(home=clean_settings, user=tmp_path / "user")
    assert settings.workspace_directory() == expected
    assert Workspace.current() == Workspace(expected)


def test_airflow_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in [("here", tmp_path / "here"), ("~/af", tmp_path / "af"), ("", tmp_path / "airflow")]:
        monkeypatch.setenv("AIRFLOW_HOME", value)
        assert settings.airflow_home() == expected
    monkeypatch.delenv("AIRFLOW_HOME")
    assert settings.airflow_home() == tmp_path / "airflow"


@pytest.mark.parametrize(("text", "expected"), [("TRUE", True), (" on ", True), ("t", True), ("no", False), ("0", False)])
def test_bools_are_read_as_airflow_reads_them(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("AIRFLOW__KART__FSYNC", text)
    assert settings.kart_bool("fsync") is expected


@pytest.mark.parametrize("text", ["", "maybe", "2", "None"])
def test_a_wrong_bool_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW__KART__FSYNC", text)
    with pytest.raises(ConfigurationError, match=r"\[kart\] fsync is .*; set it to True or False"):
        settings.kart_bool("fsync")


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "²"])
def test_a_wrong_number_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW__KART__CHECK_THREADS", text)
    with pytest.raises(ConfigurationError, match=r"\[kart\] check_threads is .*; set it to a whole number above zero"):
        settings.kart_int("check_threads")


def test_every_option_has_a_default_and_a_description() -> None:
    for name, option in get_provider_info()["config"]["kart"]["options"].items():
        assert isinstance(option["default"], str), name
        assert option["description"].strip().endswith("."), name
        assert option["version_added"]


def test_an_option_that_requires_changes_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Changing(TaskOnKart[int]):
        def requires(self) -> list[TaskOnKart[int]]:
            for retries in ("7", "8"):
                monkeypatch.setenv("AIRFLOW__KART__STORAGE_RETRIES", retries)
                seen.append(settings.kart_int("storage_retries"))
            return []

    Graph.of([Changing()])
    assert seen == [7, 8]


def test_lookups_at_once_leave_files_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setenv("AIRFLOW__KART__CHECK_THREADS", "300")
    for most, wanted in {256: 85, 1024: 300, resource.RLIM_INFINITY: 300, 2: 1}.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, most=most: (most, most))
        assert settings.check_threads() == wanted
