"""What the stores of S3 and Google Cloud Storage cost: against the services' bare clients, and for many look-ups.

The services run on this machine and share its processors with their clients. So the ratios tell something, the times do
not; and the number of requests a second is that of the service: the client's share is given beside it.

Google composes an object of its parts without copying; fake-gcs-server copies, hashes, and does so twice for more than 32
parts. So for sending there the time counts until all of the file was taken.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness.gcs_server import gcs_server
from harness.s3_server import s3_server
from side_by_side import Budget, alternate, median_of, print_table, run_case, temporary_directory, verdict

BYTES = 400_000_000  # moto copies the whole object for each range of it that is asked for
ROUNDS = 2
AT_LEAST_OF_BARE = 0.9
PEAK = 200_000_000
TARGETS = 10_000
ASKED = 1_000
LATENCY = 0.05
LOOK_UP_SECONDS = 15.0


def transfers(budgets: list[Budget]) -> None:
    """Send and get a large file, with a store and with the bare client in turn."""
    rows: list[list[object]] = []
    with ExitStack() as running:
        directory = running.enter_context(temporary_directory())
        file = Path(directory, "large.bin")
        with file.open("wb") as out:
            piece = os.urandom(1_000_000)
            for _ in range(BYTES // len(piece)):
                out.write(piece)
        addresses = {"s3": running.enter_context(s3_server()), "gcs": running.enter_context(gcs_server(complete=False))}
        for service, address in addresses.items():
            for direction in ("up", "down"):
                run = {
                    who: partial(run_case, "transfer.py", who, service, direction, file, address) for who in ("kart", "bare")
                }
                found = alternate(run, ROUNDS)
                of_kart = "taken" if (service, direction) == ("gcs", "up") else "seconds"
                seconds = {"kart": median_of(found["kart"], of_kart), "bare": median_of(found["bare"])}
                peak = max(float(once["peak"]) for once in found["kart"])
                name = f"{service} {direction}"
                rows.append(
                    [
                        f"{BYTES // 1_000_000} MB, {name}",
                        seconds["kart"],
                        seconds["bare"],
                        seconds["bare"] / seconds["kart"],
                        peak / 1e6,
                    ]
                )
                budgets.append(
                    Budget(
                        f"throughput of {name} / bare:", seconds["bare"] / seconds["kart"], AT_LEAST_OF_BARE, at_least=True
                    )
                )
                budgets.append(Budget(f"peak of {name}:", peak / 1e6, PEAK / 1e6, " MB"))
    print_table(["seconds", "airflow_kart", "bare client", "throughput ratio", "peak, MB"], rows)


def look_ups(budgets: list[Budget]) -> None:
    """Look many targets up in a service that takes its time."""
    with s3_server() as quick:
        run_case("look_ups.py", "fill", ASKED, quick)
        asked = run_case("look_ups.py", "ask", ASKED, quick)
    with s3_server(latency=LATENCY) as slow:
        run_case("look_ups.py", "fill", TARGETS, slow)
        listed = run_case("look_ups.py", "list", TARGETS, slow)
    requests = 2 * ASKED
    rows = [
        ["list, 10,000 targets", listed["seconds"], listed["cpu"], 2 * TARGETS / listed["seconds"]],
        ["ask, 1,000 targets", asked["seconds"], asked["cpu"], requests / asked["seconds"]],
    ]
    print_table(["look-ups", "seconds", "client's CPU", "look-ups a second"], rows)
    budgets.append(Budget("listing 10,000 targets, 50 ms away:", listed["seconds"], LOOK_UP_SECONDS, " s"))


def main() -> int:
    """Measure, print, and return the exit code."""
    budgets: list[Budget] = []
    transfers(budgets)
    look_ups(budgets)
    return verdict(budgets)


if __name__ == "__main__":
    sys.exit(main())
