"""What blocks make current: for their own code, for asyncio tasks, generators and threads; and that nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_kart import TaskOnKart, Workspace, build
from airflow_kart.artifacts.publication import Publication
from airflow_kart.exceptions import ConfigurationError
from airflow_kart.idioms.ambient import Ambient


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ONE, TWO = Named("one"), Named("two")


@pytest.fixture
def ambient() -> Iterator[Ambient[Named]]:
    made: Ambient[Named] = Ambient("tested")
    yield made
    assert made.current is None
    assert made.entered == []


@contextlib.contextmanager
def block(ambient: Ambient[Named], value: Named) -> Iterator[None]:
    ambient.enter(value)
    try:
        yield
    finally:
        ambient.leave(value)


def test_blocks_are_nested(ambient: Ambient[Named]) -> None:
    with block(ambient, ONE), block(ambient, TWO):
        with block(ambient, ONE):
            assert ambient.current is ONE
            assert ambient.entered == [ONE, TWO, ONE]
        assert ambient.current is TWO
        with pytest.raises(ValueError, match="inside"), block(ambient, ONE):
            raise ValueError("inside")
        assert ambient.current is TWO


def test_blocks_of_generators_end_in_any_order(ambient: Ambient[Named]) -> None:
    def generator() -> Iterator[Named | None]:
        with block(ambient, ONE):
            yield ambient.current
        yield ambient.current

    first = generator()
    assert next(first) is ONE
    with block(ambient, TWO):
        assert next(first) is TWO  # the generator's block has ended inside the other one
        assert ambient.current is TWO
    assert ambient.current is None
    never_ended = generator()  # type: ignore[unreachable]  # mypy remembers the lines before
    next(never_ended)
    del never_ended
    gc.collect()


def test_asyncio_tasks_enter_the_same_value_and_others(ambient: Ambient[Named]) -> None:
    async def work(value: Named, turns: int) -> None:
        for _ in range(turns):
            with block(ambient, value):
                await asyncio.sleep(0)
                with block(ambient, TWO):
                    await asyncio.sleep(0)
                    assert ambient.current is TWO
                assert ambient.current is value
                await asyncio.sleep(0)
            assert ambient.current is None

    async def main() -> None:
        await asyncio.gather(work(ONE, 3), work(ONE, 5), work(ONE, 4), work(Named("three"), 2))

    asyncio.run(main())


def test_a_task_that_outlives_the_block_it_was_started_in_stays_in_it(ambient: Ambient[Named]) -> None:
    async def main() -> None:
        async def late() -> Named | None:
            await asyncio.sleep(0.01)
            with block(ambient, ONE):
                pass
            return ambient.current

        with block(ambient, ONE):
            started = asyncio.ensure_future(late())
        assert ambient.current is None
        assert await started is ONE

    asyncio.run(main())


def test_an_asynchronous_generator_that_is_abandoned_leaves_its_block(ambient: Ambient[Named]) -> None:
    async def generator() -> AsyncIterator[int]:
        with block(ambient, ONE):
            yield 1
            yield 2

    async def work() -> None:
        async for _ in generator():
            break
        gc.collect()
        await asyncio.sleep(0)  # the loop closes the generator in a task of its own

    async def main() -> None:
        await asyncio.gather(*(asyncio.ensure_future(work()) for _ in range(3)))

    asyncio.run(main())


def test_an_entry_that_a_finalizer_has_ended_is_ended_once(ambient: Ambient[Named]) -> None:
    entered, ended = threading.Event(), threading.Event()

    def work() -> None:
        with block(ambient, ONE):
            entered.set()
            assert ended.wait(10)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(work)
        assert entered.wait(10)
        pool.submit(ambient.enter, ONE).result(10)
        ambient.leave(ONE)  # in a thread that has entered nothing
        assert ambient.entered == [ONE]
        ended.set()
        first.result(10)


def test_threads_are_in_no_block_and_see_all_that_are_entered(ambient: Ambient[Named]) -> None:
    with block(ambient, ONE), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: ambient.current).result(10) is None
        assert pool.submit(lambda: ambient.entered).result(10) == [ONE]


def test_many_threads_leave_nothing(ambient: Ambient[Named]) -> None:
    start = threading.Barrier(4)

    def work() -> None:
        start.wait(10)
        for _ in range(500):
            with block(ambient, ONE):
                assert ambient.current is ONE

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result(60)


# The two that the package has.


class Threaded(TaskOnKart[str]):
    def run(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            self.dump(pool.submit(lambda: Workspace.current().directory).result(10))


def test_three_asyncio_tasks_in_one_workspace(tmp_path: Path) -> None:
    outside, shared = Workspace.current(), Workspace(str(tmp_path / "shared"))

    async def work(workspace: Workspace) -> None:
        for _ in range(5):
            with workspace:
                await asyncio.sleep(0)
                assert Workspace.current() is workspace
                await asyncio.sleep(0.001)

    async def main() -> None:
        await asyncio.gather(*(work(shared) for _ in range(3)), work(Workspace(str(tmp_path / "other"))))
        with shared:
            assert await asyncio.to_thread(lambda: Workspace.current()) is shared

    asyncio.run(main())
    assert Workspace.current() == outside
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(Workspace.current).result(10) == outside


def test_a_tasks_own_thread_finds_the_workspace(tmp_path: Path) -> None:
    workspace = Workspace(str(tmp_path / "shared"))

    async def main() -> list[Any]:
        async def work() -> Any:
            with workspace:
                await asyncio.sleep(0)
                return build(Threaded())

        return await asyncio.gather(*(work() for _ in range(3)))

    assert asyncio.run(main()) == [str(tmp_path / "shared")] * 3


def test_a_thread_among_two_workspaces_has_to_choose(tmp_path: Path) -> None:
    with (
        Workspace(str(tmp_path / "one")),
        Workspace(str(tmp_path / "two")),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ConfigurationError, match="the process is in several"),
    ):
        pool.submit(Workspace.current).result(10)
    with Workspace(str(tmp_path / "one")), Workspace(str(tmp_path / "one")), ThreadPoolExecutor(1) as pool:
        assert pool.submit(Workspace.current).result(10) == Workspace(str(tmp_path / "one"))


def test_a_publication_that_fails_stays_current_for_nobody() -> None:
    with pytest.raises(ValueError, match="inside"), Publication({}) as publication:
        assert Publication.current() is publication
        raise ValueError("inside")
    assert Publication.current() is None
    assert Publication.expecting("anything") is None
