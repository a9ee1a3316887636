"""Pools of threads: work on thousands of small things."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_kart.storage.threads import Threads


def test_each_returns_what_map_does() -> None:
    with Threads(8, "test") as pool:
        assert pool.each(lambda number: number * number, range(1000)) == [number * number for number in range(1000)]
        assert pool.each(str, []) == []
        assert pool.each(str, [1]) == ["1"]


def test_several_threads_work_at_once() -> None:
    start = threading.Barrier(4)
    with Threads(4, "test") as pool:
        names = pool.each(lambda _: (start.wait(10), threading.current_thread().name)[1], range(8))
    assert len(set(names)) == 4


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyboardInterrupt])
def test_the_first_error_ends_the_work(error: type[BaseException]) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 20:
            raise error("wrong")
        time.sleep(0.001)
        done.append(number)

    with Threads(4, "test") as pool, pytest.raises(error, match="wrong"):
        pool.each(work, range(5000))
    assert len(done) < 4000
