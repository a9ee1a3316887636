"""What the stores of S3 and Google Cloud Storage cost: against the services' bare clients, gokart.

The services run on this machine and share its processors with their clients. So the ratios tell something, the times do
not.

Google composes an object of its parts without copying; fake-gcs-server copies, hashes, and does so twice for more than 32
parts. So for sending there the time counts until all of the file was taken, and for a frame without the composing.

gokart dumps and loads the same frame, a pickle like ours. On S3 it is pointed at the service by boto3's environment. Its
client of Google Cloud Storage knows no emulator: it is given one of luigi's, made from the description of the API that
comes with googleapiclient, with this machine's address in it, and sends larger pieces than luigi's 10 MB, each of which
costs fake-gcs-server a copy of all before it. gokart verifies nothing when it loads, and asks S3 for all of
an object at once, which costs a service on loopback least; a real one sends a single answer slower than several.

``--megabytes 1000`` sends and gets more.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness.gcs_server import gcs_server
from harness.s3_server import s3_server
from side_by_side import Budget, alternate, median_of, print_table, run_case, temporary_directory, verdict

MEGABYTES = 400
ROUNDS = 2
AT_LEAST_OF_BARE = 0.9
PEAK = 200_000_000


def transfers(megabytes: int, budgets: list[Budget]) -> None:
    """Send and get a large file, with a store and with the bare client in turn."""
    rows: list[list[object]] = []
    with ExitStack() as running:
        directory = running.enter_context(temporary_directory())
        file = Path(directory, "large.bin")
        with file.open("wb") as out:
            piece = os.urandom(1_000_000)
            for _ in range(megabytes):
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
                        f"{megabytes:,} MB, {name}",
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


def frames(megabytes: int) -> None:
    """Dump and load a frame, with a target of ours and with gokart's in turn."""
    rows: list[list[object]] = []
    with s3_server() as s3, gcs_server(complete=False) as gcs:
        for service, address in {"s3": s3, "gcs": gcs}.items():
            for direction in ("dump", "load"):
                run = {
                    who: partial(run_case, "bucket_frames.py", who, service, direction, megabytes, address)
                    for who in ("kart", "gokart")
                }
                found = alternate(run, ROUNDS)
                seconds = {who: median_of(runs, "uncomposed") for who, runs in found.items()}
                peaks = [max(float(once["peak"]) for once in found[who]) / 1e6 for who in ("kart", "gokart")]
                ratio = seconds["gokart"] / seconds["kart"]
                rows.append(
                    [
                        f"{megabytes:,} MB, {service} {direction}",
                        seconds["kart"],
                        seconds["gokart"],
                        ratio,
                        *peaks,
                        peaks[1] / peaks[0],
                    ]
                )
    print_table(["a frame", "airflow_kart", "gokart", "time ratio", "peak, MB", "gokart's", "peak ratio"], rows)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--megabytes", type=int, default=MEGABYTES, help="how large the file and the frame are (default: 400)"
    )
    megabytes = parser.parse_args().megabytes
    budgets: list[Budget] = []
    transfers(megabytes, budgets)
    frames(megabytes)
    return verdict(budgets)


if __name__ == "__main__":
    sys.exit(main())
