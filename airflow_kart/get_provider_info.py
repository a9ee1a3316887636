"""The provider's description for Airflow. The defaults here are the package's defaults."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator
from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, with the ``[kart]`` options and the present options of task classes.

    Options of task classes may hold private values. As no class is loaded where Airflow asks, each of them is declared
    sensitive: Airflow then hides them in its UI and in ``airflow config list``.
    """
    info = _static_info()
    for section, option in _class_options():
        declared = info["config"].setdefault(
            section, {"description": "Values for the parameters of a task class.", "options": {}}
        )
        declared["options"][option] = _option(
            "The value of a parameter.", "string", default=None, example=None, sensitive=True
        )
    return info


def _class_options() -> Iterator[tuple[str, str]]:
    """Return section and option of each value for a task class, in the environment and in ``airflow.cfg``."""
    for variable in sorted(os.environ):
        prefix, _, rest = variable.partition("__")
        section, separator, option = rest.partition("__")
        if prefix == "AIRFLOW" and separator and section.startswith("KART_"):
            yield section.lower(), option.lower()
    home = os.environ.get("AIRFLOW_HOME") or "~/airflow"
    file = os.path.expanduser(os.environ.get("AIRFLOW_CONFIG") or os.path.join(home, "airflow.cfg"))
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
        if "[kart." in text:
            parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
            parser.read_string(text)
            for section in parser.sections():
                if section.startswith("kart."):
                    yield from ((section, option) for option in parser.options(section))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return  # whoever needs the file says what is wrong with it


def _static_info() -> dict[str, Any]:
    operators = [f"airflow_kart.operators.{module}" for module in ("task", "plan", "report")]
    triggers = [f"airflow_kart.triggers.{module}" for module in ("external", "lock")]
    return {
        "package-name": "airflow-kart",
        "name": "Kart",
        "description": (
            "Compiles TaskOnKart class graphs into Airflow DAGs that recompute nothing they already have "
            "and record how each artifact was made."
        ),
        "integrations": [
            {"integration-name": "Kart", "external-doc-url": "https://pypi.org/project/airflow-kart/", "tags": ["software"]}
        ],
        "operators": [{"integration-name": "Kart", "python-modules": operators}],
        "triggers": [{"integration-name": "Kart", "python-modules": triggers}],
        "cli": ["airflow_kart.cli.definition.get_kart_commands"],
        "extra-links": ["airflow_kart.operators.link.KartArtifactLink"],
        "config": {
            "kart": {
                "description": "Where kart tasks keep their artifacts and how they publish them.",
                "options": _kart_options(),
            }
        },
    }


def _kart_options() -> dict[str, Any]:
    return {
        "workspace_directory": _option(
            "Directory for the artifacts of DAGs that name no workspace. A relative directory is taken from "
            "AIRFLOW_HOME, so that the scheduler, the workers and a laptop's command line agree on it.",
            "string",
            default="kart_workspace",
            example="/srv/kart",
        ),
        "fsync": _option(
            "Whether to flush each artifact to the disk before publication. Otherwise a crash of the machine (not of "
            "the process) may truncate a fresh artifact; the sidecar's size and checksum reveal this, and the task runs "
            "again.",
            "boolean",
            default="False",
            example="True",
        ),
        "check_threads": _option(
            "How many artifacts a plan or a report looks up at once; at most a third of the files that a process may open.",
            "integer",
            default="320",
            example="32",
        ),
        "max_tasks": _option(
            "How many tasks may be upstream of one. More are taken for a requires() that never ends.",
            "integer",
            default="100000",
            example="1000000",
        ),
        "aws_conn_id": _option(
            "Airflow connection for s3:// workspaces. Where aws_default is asked for and does not exist, AWS's own ways "
            "to credentials are tried: environment, profile, the machine's role.",
            "string",
            default="aws_default",
            example="aws_artifacts",
        ),
        "gcp_conn_id": _option(
            "Airflow connection for gs:// workspaces. Where google_cloud_default is asked for and does not exist, "
            "Google's application default credentials are used.",
            "string",
            default="google_cloud_default",
            example="google_artifacts",
        ),
        "assets": _option(
            "The Airflow asset of each task whose class names none in assets. The text may have the fields {class_name}, "
            "{dag_id}, {unique_id}, and parameters that all classes have. Empty: no assets.",
            "string",
            default="",
            example="kart://{dag_id}/{class_name}",
        ),
        "storage_retries": _option(
            "How often a request to S3 or Google Cloud Storage is tried again after a transient failure (throttling, a "
            "broken connection, a service that is not well), with growing pauses and for about a minute at most.",
            "integer",
            default="10",
            example="3",
        ),
        "read_from": _option(
            "Workspaces, with commas between them, whose artifacts count where the own workspace has none. They are "
            "only read: so a laptop uses production's artifacts and cannot touch them.",
            "string",
            default="",
            example="s3://production/workspace",
        ),
        "namespace": _option(
            "Words with dots between, such as team_a. The namespace counts in all unique ids, and stands in front of the "
            "names of task classes, in the paths of their artifacts too. So projects whose classes have equal names "
            "share a workspace, and no artifacts. Empty: no namespace.",
            "string",
            default="",
            example="team_a",
        ),
        "commit_url": _option(
            "The address of a commit on the web, with {commit} for its id, to which the pages in Airflow's UI link; https only. "
            "Empty: no links.",
            "string",
            default="",
            example="https://github.com/acme/flights/commit/{commit}",
        ),
        "lock": _option(
            "The kind of locks. With a lock, one run at a time makes an artifact, and others wait: file (in the "
            "workspace's directory, freed when the holder's process ends), lease (objects in the workspace, renewed "
            "during the work), redis, or none. auto stands for redis where redis_conn_id is set, else for file in a "
            "directory and for lease in s3:// and gs://. Workspaces in memory have no locks then. Nor have other "
            "schemes without redis, as their file systems have no conditional writes: two runs may do the same work, "
            "and one publishes.",
            "string",
            default="auto",
            example="redis",
        ),
        "redis_conn_id": _option(
            "Airflow connection for locks in Redis: host, port, login, password, and in its extra db, ssl, "
            "ssl_cert_reqs, ssl_ca_certs, ssl_keyfile, ssl_certfile and ssl_check_hostname. Empty: no Redis.",
            "string",
            default="",
            example="redis_default",
        ),
        "lock_time_to_live": _option(
            "Seconds without a renewal after which a lock in a bucket or in Redis belongs to a dead run; at least 5 and "
            "at most 3600. A holder renews four times as often. Choose more than the longest time for which a task "
            "keeps Python from running other threads, as few C extensions do.",
            "integer",
            default="60",
            example="300",
        ),
        "lock_wait": _option(
            "How an operator waits for another run that makes the same artifact, or for a file: defer (the triggerer "
            "looks), reschedule (the operator starts again from time to time, without a triggerer), or block (the operator keeps "
            "its worker slot). auto means defer where a triggerer runs, else reschedule.",
            "string",
            default="auto",
            example="reschedule",
        ),
        "lock_timeout": _option(
            "Seconds that a task waits at most for another run that makes the same artifact.",
            "integer",
            default="86400",
            example="3600",
        ),
        "clear": _option(
            "What a cleared task instance does: rerun makes again what the task instance had made in the same DAG run, look looks "
            "for the artifact as always.",
            "string",
            default="rerun",
            example="look",
        ),
        "code_version": _option(
            "The code_version of all task classes that say nothing of their own: none, or auto, with which a change of a class's "
            "code makes its tasks, and everything downstream, run again.",
            "string",
            default="none",
            example="auto",
        ),
        "on_changed_code": _option(
            "What becomes of an artifact whose class, or a class upstream, has other code now: warn says so in builds, plans and "
            "reports, rerun makes the artifact again, ignore reuses it silently.",
            "string",
            default="warn",
            example="rerun",
        ),
        "reuse_equal_inputs": _option(
            "Whether a task that would run takes the artifact of an equal run in its place: of the same class and code, with equal "
            "parameters and equal bytes of all inputs.",
            "boolean",
            default="True",
            example="False",
        ),
        "unknown_conf": _option(
            "What a key of a run's conf does that is no field of the trigger form: error fails the run, warn logs the key, "
            "ignore does nothing. In a DAG of the user's own, only a key that resembles a field of a compiled group counts.",
            "string",
            default="error",
            example="warn",
        ),
        "private_digest_key": _option(
            "Secret that keys the digests by which private parameters appear in sidecars and count in unique ids. "
            "Without a key a sidecar says only that the parameter was set, and a private parameter that counts is an "
            "error. Another key gives such tasks other ids.",
            "string",
            default="",
            example=None,
            sensitive=True,
        ),
    }


def _option(description: str, kind: str, *, default: str | None, example: str | None, **more: bool) -> dict[str, Any]:
    return {
        "description": f"{description}\n",
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
        **more,
    }
