"""The commands and their arguments, as data. A command imports its implementation when it runs."""

from __future__ import annotations

import argparse
import datetime as dt
from dataclasses import dataclass
from typing import Any

from airflow_kart.cli.duration import duration, moment
from airflow_kart.cli.output import OUTPUTS

DESCRIPTION = "Look after the artifacts of kart tasks"


class Argument:
    """An argument: the parameters of ``argparse``'s ``add_argument``."""

    def __init__(self, *flags: str, **options: Any) -> None:
        self.flags, self.options = flags, options


@dataclass(frozen=True)
class Command:
    """A command."""

    name: str
    help: str
    description: str
    arguments: tuple[Argument, ...]
    implementation: str
    """``module:function``, imported when the command runs."""

    def run(self, arguments: argparse.Namespace) -> None:
        """Carry the command out."""
        from airflow_kart.cli.workspace import carry_out

        carry_out(self.implementation, arguments)


_CONNECTIONS = (
    Argument("--aws-conn-id", help="Airflow connection for S3 (default: option aws_conn_id of section kart)"),
    Argument(
        "--gcp-conn-id",
        help="Airflow connection for Google Cloud Storage (default: option gcp_conn_id of section kart)",
    ),
)
_VERBOSE = Argument("-v", "--verbose", action="store_true", help="Show the log")
_OUTPUT = (
    Argument(
        "-o",
        "--output",
        choices=OUTPUTS,
        metavar="(table, json, yaml, plain)",
        default="table",
        help="Output format. Allowed values: json, yaml, plain, table (default: table)",
    ),
    _VERBOSE,
)
_WORKSPACE = (
    Argument(
        "-w", "--workspace", dest="directory", metavar="DIRECTORY", help="Path or uri (default: the configured workspace)"
    ),
    *_CONNECTIONS,
)

_NAME = "Class, task id or a glob of these; 'Train(day=2013-03-01)'; the beginning of a unique id; or a uri"
_CONDITIONS = (
    Argument("--since", type=moment, metavar="WHEN", help="Made since a date or time (UTC), or a duration such as 7d"),
    Argument("--until", type=moment, metavar="WHEN", help="Made before"),
    Argument("--dag", dest="dag_id", metavar="DAG_ID", help="Made by a run of this DAG"),
    Argument("--run", dest="run_id", metavar="RUN_ID", help="Made by this DAG run"),
    Argument("--outcome", choices=("ran", "reused"), help="Made by a run of the task, or taken from an equal run"),
)

_PIPELINE = "DAG id; file.py:Train(depth=6) or package.module:Train; or file.py, for all its classes"
_OF_RUN = (
    Argument("--date", metavar="DATE", help="Logical date of the DAG run (default: a run without one, now)"),
    Argument("--conf", metavar="JSON", help="The conf of the DAG run"),
    Argument("--run-id", dest="run_id", metavar="RUN_ID", help="Take date and conf from this DAG run"),
    Argument(
        "--set",
        dest="values",
        action="append",
        metavar="NAME=VALUE",
        help="Value of a parameter of the pipeline's root, such as a private one; may be given several times",
    ),
)
_RERUN = Argument(
    "--rerun", action="append", metavar="NAME", help="Run these tasks again, with + at the end what is downstream, too"
)

COMMANDS = (
    Command(
        name="ls",
        help="List artifacts, or their sums by task, DAG or month",
        description=(
            "Without a name, list the sums of all artifacts by task: how many, how large, how long their tasks ran. With a name, "
            "list the artifacts, the newest first."
        ),
        arguments=(
            Argument("name", nargs="?", metavar="NAME", help=_NAME),
            Argument("--by", choices=("task", "dag", "run", "month", "day"), help="Sums, by task or otherwise"),
            *_CONDITIONS,
            Argument("-n", dest="most", type=int, default=50, help="List so many artifacts; 0 for all (default: 50)"),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.artifacts:list_artifacts",
    ),
    Command(
        name="show",
        help="Show what is known of an artifact, and the head of a table",
        description="Show the newest artifact of a name: its sidecar in words, and the first rows of a table. Pickles are not opened.",
        arguments=(Argument("name", metavar="NAME", help=_NAME), *_WORKSPACE, *_OUTPUT),
        implementation="airflow_kart.cli.artifacts:show_artifact",
    ),
    Command(
        name="tree",
        help="Draw what an artifact was made from",
        description="Draw the newest artifact of a name with everything upstream, as the sidecars record it.",
        arguments=(Argument("name", metavar="NAME", help=_NAME), *_WORKSPACE, *_OUTPUT),
        implementation="airflow_kart.cli.artifacts:draw_tree",
    ),
    Command(
        name="lineage",
        help="List everything upstream and downstream of an artifact",
        description="List everything that the newest artifact of a name was made from, and everything that was made from it.",
        arguments=(Argument("name", metavar="NAME", help=_NAME), *_WORKSPACE, *_OUTPUT),
        implementation="airflow_kart.cli.artifacts:list_lineage",
    ),
    Command(
        name="diff",
        help="Show what two artifacts, two DAG runs or two days differ in",
        description=(
            "Compare parameters, upstream, code, packages and environment of the newest artifacts of two names, and their data: "
            "tables by column and row, objects by path. With one name, compare the newest artifact with the one before. The exit "
            "code is 3 where data differ."
        ),
        arguments=(
            Argument("names", nargs="*", metavar="NAME", help=_NAME),
            Argument("--runs", nargs=2, metavar="RUN_ID", help="Compare the artifacts of two DAG runs, task by task"),
            Argument("--days", nargs=2, metavar="DAY", help="Compare the artifacts of tasks with these days as a parameter"),
            Argument("--rows", type=int, default=5, help="Show so many differing rows or elements (default: 5)"),
            Argument("--no-data", action="store_true", help="Compare what the sidecars say, and checksums"),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.diff:show_differences",
    ),
    Command(
        name="verify",
        help="Make tasks again in a scratch directory, and compare; or check checksums",
        description=(
            "Make the newest artifact of a name, or a sample, again: in a fresh process, with the inputs and random numbers of "
            "then, in a scratch directory. Tell identical bytes, equal data, or what differs and why. The workspace does not "
            "change. The exit code is 3 where data differ, a run failed, or an artifact is damaged."
        ),
        arguments=(
            Argument("name", nargs="?", metavar="NAME", help=_NAME),
            Argument("--sample", type=int, metavar="N", help="Make so many tasks again, spread over the classes; 0 for all"),
            Argument("--seed", type=int, help="Of the choice of the sample (default: another choice each time)"),
            Argument(
                "--timeout", type=duration, default="1h", metavar="DURATION", help="Stop a run after this time (default: 1h)"
            ),
            Argument(
                "--patience",
                type=duration,
                default="10m",
                metavar="DURATION",
                help="Time for experiments that find out why the bytes of a task differ; 0s for none (default: 10m)",
            ),
            Argument("--checksums", action="store_true", help="Only read all artifacts, and compare their checksums"),
            Argument(
                "--mark", action="store_true", help="With --checksums: let the next build make damaged artifacts again"
            ),
            *_CONDITIONS,
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.verify:verify_artifacts",
    ),
    Command(
        name="gc",
        help="List what nothing keeps in a workspace, or remove it",
        description=(
            "List, by task, the artifacts that no condition keeps, and what killed processes left: damaged artifacts, files "
            "without sidecars, uploads, entries of the index. What stays keeps everything upstream. Nothing is removed without "
            "--delete. At least one condition, or a name of what may go, has to be given."
        ),
        arguments=(
            Argument("names", nargs="*", metavar="NAME", help=f"Only this may go. {_NAME}"),
            Argument(
                "--keep",
                action="append",
                default=[],
                metavar="NAME",
                help=f"{_NAME}; or dags/file.py:Train, the graph of a class, with values of parameters as in 'file.py:Train(depth=3)'",
            ),
            Argument(
                "--keep-dag",
                action="append",
                default=[],
                metavar="DAG_ID[@DAYS]",
                help="All tasks of a DAG's runs; of days: flights@2013-03-01, flights@2013-03-01..2013-03-31 or flights@30d",
            ),
            Argument("--keep-last", type=int, metavar="N", help="The newest N tasks of each class"),
            Argument(
                "--older-than", type=duration, metavar="DURATION", help="Only what was made longer ago goes, such as 30d"
            ),
            Argument(
                "--keep-label",
                action="append",
                default=[],
                metavar="LABEL",
                help="Artifacts with a label, name or name=value",
            ),
            Argument(
                "--grace",
                type=duration,
                default=dt.timedelta(hours=24),
                metavar="DURATION",
                help="Nothing goes that was made or used within this time (default: 24h)",
            ),
            Argument(
                "--without-upstream",
                action="store_true",
                help="What stays does not keep what is upstream, but for the grace period",
            ),
            Argument("--delete", action="store_true", help="Remove what goes"),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.gc:collect",
    ),
    Command(
        name="why",
        help="Tell what made a task run",
        description=(
            "Tell why the task of an artifact ran: compare with the nearest earlier artifact of the task's class, and follow the "
            "differences upstream to the root cause: a parameter, code, a key, a file, a rerun."
        ),
        arguments=(
            Argument("name", metavar="NAME", help=_NAME),
            Argument("--in", dest="pipeline", metavar="PIPELINE", help=f"Why would the task run now? {_PIPELINE}"),
            Argument("--dag", dest="dag_id", metavar="DAG_ID", help="Made by a run of this DAG"),
            Argument(
                "--run", "--run-id", dest="run_id", metavar="RUN_ID", help="Made by this DAG run; with --in: of this DAG run"
            ),
            *(argument for argument in _OF_RUN if "--run-id" not in argument.flags),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.why:explain",
    ),
    Command(
        name="plan",
        help="Tell what a run of a pipeline would do now",
        description=(
            "List the tasks of a DAG, or of classes in a file: which would run, why, and how long that took before; which are "
            "cached, and which are not needed. Nothing runs, and nothing changes. The exit code is 3 where a task would run."
        ),
        arguments=(
            Argument("pipeline", metavar="PIPELINE", help=_PIPELINE),
            *_OF_RUN,
            _RERUN,
            Argument("-n", dest="most", type=int, default=200, help="List so many tasks; 0 for all (default: 200)"),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.plan:show_plan",
    ),
    Command(
        name="run",
        help="Run a pipeline in this process, without a scheduler",
        description=(
            "Make what is missing of a DAG's artifacts, or of those of classes in a file, in this process. Of a DAG, only kart "
            "tasks run. The exit code is 1 where a task fails."
        ),
        arguments=(
            Argument("pipeline", metavar="PIPELINE", help=_PIPELINE),
            *_OF_RUN,
            _RERUN,
            Argument("--only", action="append", metavar="NAME", help="Make only these tasks, and what they need"),
            Argument("--workers", type=int, default=1, metavar="N", help="Run so many tasks at once (default: 1)"),
            *_WORKSPACE,
            _VERBOSE,
        ),
        implementation="airflow_kart.cli.run:run_pipeline",
    ),
    Command(
        name="debug",
        help="Run one task here with its real inputs, and stop in pdb where the task fails",
        description=(
            "Make one task of a pipeline again in a scratch directory, with the inputs and random numbers of production, and stop in "
            "pdb in your code, where the task fails. The workspace is only read."
        ),
        arguments=(
            Argument("pipeline", metavar="PIPELINE", help=_PIPELINE),
            Argument("task", metavar="TASK", help=_NAME),
            *_OF_RUN,
            Argument("-s", "--trace", action="store_true", help="Stop at the first line of run()"),
            *_WORKSPACE,
            _VERBOSE,
        ),
        implementation="airflow_kart.cli.debug:debug_task",
    ),
    Command(
        name="uploads",
        help="List or abort the uploads that killed processes left behind",
        description=(
            "List the unfinished uploads of large objects to a bucket: neither published nor discarded. The process of such "
            "an upload was killed, or is still writing: from outside the two look the same. Nobody sees the parts sent so "
            "far, and the bucket's owner pays for them. On a disk, list the files of killed processes, and of other hosts."
        ),
        arguments=(
            Argument(
                "directory",
                nargs="?",
                default=argparse.SUPPRESS,  # leaves what -w gives
                metavar="DIRECTORY",
                help="Workspace, or any directory, s3:// or gs:// (default: the configured workspace)",
            ),
            Argument(
                "--older-than",
                type=duration,
                metavar="DURATION",
                help="Only uploads begun longer ago, such as 90m, 24h or 7d (default: all; with --abort, 24h)",
            ),
            Argument(
                "--abort",
                action="store_true",
                help="Abort the uploads in place of listing them: nobody can publish an aborted upload",
            ),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.uploads:uploads",
    ),
    Command(
        name="adopt",
        help="Keep the artifacts of a class after a change of its code that does not matter",
        description=(
            "Bind the artifacts of a class to the unique ids that its tasks have after a change of the code: by links where "
            "that works, with a record of who, when and why in the sidecars. A later change makes the tasks run. An "
            "interrupted command leaves nothing half; the same command goes on."
        ),
        arguments=(
            Argument(
                "cls",
                metavar="CLASS",
                help="Train or pipeline.Train, as sidecars name the class; package.module:Train; or dags/file.py:Train",
            ),
            Argument("--reason", help="Why the change does not matter; required, but with --undo"),
            Argument(
                "--verify",
                type=int,
                default=0,
                metavar="N",
                help="Make so many of the tasks again first, in a scratch directory; where bytes differ, adopt nothing",
            ),
            Argument(
                "--from",
                dest="versions",
                action="append",
                metavar="VERSION",
                help=(
                    "Adopt the artifacts of this earlier version: a code_version, or four or more first digits of a fingerprint; "
                    "may be given several times; all for all (default: the version of the newest artifact)"
                ),
            ),
            Argument("--by", help="Who says so (default: the user of this process)"),
            Argument("--undo", action="store_true", help="Take the latest adoption of the class back"),
            Argument("--dry-run", action="store_true", help="Show what would become of the artifacts; change nothing"),
            Argument("--each", action="store_true", help="List each task, in place of numbers of tasks"),
            *_WORKSPACE,
            *_OUTPUT,
        ),
        implementation="airflow_kart.cli.adopt:adopt_class",
    ),
    Command(
        name="reindex",
        help="Write the index of equal runs anew",
        description=(
            "Write the index by which a task finds the artifact of an equal run anew, from the sidecars of a workspace, and "
            "remove its entries that point to nothing."
        ),
        arguments=(*_WORKSPACE, *_OUTPUT),
        implementation="airflow_kart.cli.adopt:write_index",
    ),
)
