"""No secret is found anywhere under a real scheduler, in the midst of runs and after success, failure and retry."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
from harness import s3_server
from harness.airflow_server import AirflowServer
from harness.canary import DAGS, SECRETS, command_lines, environment_of, hits, texts_below
from harness.postgres import dump_of, postgres
from harness.redis_server import RedisServer
from harness.s3_server import objects_in

RUNS = ("canary_bound_retries", "canary_bucket_works", "canary_bucket_works", "canary_fails")
"""Of two runs of one task, one holds the lock and the other waits."""
SOON = 300  # seconds for what takes fifteen on a machine that does nothing else


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Everything that was found in the midst of the runs, and after them, by place."""
    home = tmp_path_factory.mktemp("canary")
    (home / "temporary").mkdir()
    with contextlib.ExitStack() as ending:
        database = ending.enter_context(postgres(home / "postgres.log"))
        s3 = ending.enter_context(s3_server.s3_server())
        redis = ending.enter_context(RedisServer(home))
        s3_server.make_bucket(s3, "kart")
        environment = {
            **environment_of(SECRETS),
            "TMPDIR": str(home / "temporary"),
            "AIRFLOW__API__EXPOSE_CONFIG": "non-sensitive-only",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",  # the file stays as it is
            "CANARY_GATE": "1",
            "CANARY_BUCKET": "s3://kart/canary",
            "AIRFLOW_CONN_CANARY_S3": s3_server.s3_connection(s3),
            "AIRFLOW_CONN_CANARY_REDIS": redis.connection(),
        }
        server = AirflowServer(home, database, environment, triggerer=True)
        (server.dags / "canary.py").write_text(DAGS)
        lines = ending.enter_context(command_lines(home))
        ending.callback(server.stop)
        server.start()
        server.wait_for_dags(*RUNS)
        for mode in ("retries", "works"):
            (home / f"{mode}.txt").write_text("there")
        runs = [(dag_id, server.trigger(dag_id)) for dag_id in RUNS]

        def midst() -> bool:
            states = [server.state(*run, "delivered" if run[0] == "canary_fails" else "holder") for run in runs]
            return states.count("deferred") == 2 and len(list(home.glob("runs-*"))) == 2

        server.wait(midst, SOON, "two tasks to run, one to wait for their lock and one for a file")
        found = {f"midst: {place}": text for place, text in texts_below(home)}
        found |= {"midst: database": dump_of(database), "locks in redis": redis.content()}
        for name in ("fails.txt", "gate"):
            (home / name).touch()
        assert [server.finished(*run).state for run in runs] == ["success", "success", "success", "failed"]
        found |= {"database": dump_of(database), "drawings": drawings(server)}
        found |= {
            f"bucket: {key}": key.encode() + repr(about).encode() + data for key, about, data in objects_in(s3, "kart")
        }
        for path in ["/config", *(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances" for dag_id, run_id in runs)]:
            found[f"API: {path}"] = json.dumps(server.call("GET", path), ensure_ascii=False).encode()
    return {**found, **dict(texts_below(home)), **dict(lines)}


def drawings(server: AirflowServer) -> bytes:
    command = [sys.executable, str(server.dags / "canary.py"), "works"]
    done = subprocess.run(command, env=server.environment, capture_output=True, timeout=120, check=True)
    return done.stdout + done.stderr


def text_of(places: dict[str, bytes], name: str) -> str:
    found = [text for place, text in places.items() if name in place]
    assert found, (name, sorted(places))
    return b"\n".join(found).decode(errors="replace")


def test_the_search_looks_where_secrets_could_be(places):
    for name, words in (
        ("midst: database", "airflow_kart.triggers.lock"),
        ("midst: database", "airflow_kart.triggers.external"),
        ("locks in redis", "Holder("),
        ("/.kart-locks/", "Holder("),
        ("database", "serialized_dag"),
        ("database", "canary_bucket_works"),
        ("dag_id=canary_bound_retries", "uses ***"),
        ("dag_id=canary_bound_retries", "no access with"),
        ("dag_id=canary_fails", "no access with"),
        ("scheduler.log", "canary_fails"),
        ("triggerer.log", "trigger"),
        ("bucket: ", "'kart-unique-id'"),
        ("bucket: ", '"task_log"'),
        ("drawings", "graph"),
        ("API: /config", "private_digest_key"),
        ("command line of", "scheduler"),
        ("postgres.log", "database system is ready"),
    ):
        assert words in text_of(places, name), (name, words)


def test_no_secret_is_found(places):
    assert hits(SECRETS, places.items()) == []
