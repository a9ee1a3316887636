"""Processes that all want to publish the same object."""

from __future__ import annotations

import random
import time
from typing import Any

from airflow_kart.exceptions import ConflictError
from airflow_kart.storage import Store

__all__ = ["content", "race"]


def content(round_: int, number: int, length: int) -> bytes:
    """Return what a writer publishes in a round."""
    return f"{round_} {number} ".encode() * (length // 4)


def race(store: Store, uri: str, number: int, rounds: int, length: int, barrier: Any, outcomes: Any) -> None:
    """Publish in each round what may replace only what the round before left; report whether it went well."""
    dice = random.Random(number)
    for round_ in range(rounds):
        found = store.read(uri)
        if round_:
            assert found is not None
            assert found.data in {content(round_ - 1, other, length) for other in range(2)}
        upload = store.upload(uri)
        upload.write(content(round_, number, length))
        upload.finish()
        barrier.wait(120)
        time.sleep(dice.uniform(0, 0.01))
        try:
            upload.publish(found.version if found is not None else None)
            won = True
        except ConflictError:
            upload.discard()
            won = False
        outcomes.put((round_, number, won))
        barrier.wait(120)
