"""Properties that are computed once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from airflow_kart.idioms.kept import kept


class Square:
    """Has an area that is computed once."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.asked = 0

    @kept
    def area(self) -> int:
        """The side, squared."""
        self.asked += 1
        return self.side**2


def test_a_value_is_computed_once_for_each_object() -> None:
    one, other = Square(2), Square(3)
    assert [one.area, one.area, other.area] == [4, 4, 9]
    assert (one.asked, other.asked) == (1, 1)
    assert Square.area.__doc__ == "The side, squared."


def test_what_fails_is_computed_anew() -> None:
    square = Square("two")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _ = square.area
    square.side = 2
    assert square.area == 4


def test_a_fork_does_not_wait_for_a_thread_that_is_gone() -> None:
    class Slow(Square):
        @kept
        def area(self) -> int:
            begun.set()
            assert go_on.wait(10)
            return super().area

    begun, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: Slow(2).area)
    thread.start()
    assert begun.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        go_on.set()
        os._exit(Slow(3).area)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
