"""Tools for the tests of a pipeline: run one task on given inputs or a graph on empty frames, and compare frames.

All functions work in memory and write nothing to a workspace. No test framework is needed.
"""

from __future__ import annotations

from airflow_kart.testing.empty_frames import assert_runs_on_empty_frames, run_on_empty_frames
from airflow_kart.testing.frame_equality import assert_frame_contents_equal
from airflow_kart.testing.memory import in_memory_workspace
from airflow_kart.testing.report import EmptyFramesReport, EmptyRun, EmptyRunOutcome
from airflow_kart.testing.trial import Trial, run_in_memory, try_in_memory

__all__ = [
    "EmptyFramesReport",
    "EmptyRun",
    "EmptyRunOutcome",
    "Trial",
    "assert_frame_contents_equal",
    "assert_runs_on_empty_frames",
    "in_memory_workspace",
    "run_in_memory",
    "run_on_empty_frames",
    "try_in_memory",
]
