"""The flagship example, for an Airflow of a test."""

from __future__ import annotations

from pathlib import Path

__all__ = ["flagship"]

_FILE = Path(__file__).parents[2] / "example_dags" / "flight_delays.py"


def flagship() -> str:
    """Return the example as it is, but for the end of its schedule, which would make runs of today."""
    example = _FILE.read_text()
    assert "catchup=False," in example
    ended = "catchup=False,\n    end_date=dt.datetime(2013, 12, 31, tzinfo=dt.timezone.utc),"
    return example.replace("catchup=False,", ended)
