"""How each command begins and ends: its workspace, its errors, its exit code."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import cast

from airflow_kart import settings
from airflow_kart.cli.quiet import quiet_airflow
from airflow_kart.exceptions import KartError
from airflow_kart.storage.workspace import Workspace

Implementation = Callable[[Workspace, argparse.Namespace], "int | None"]
"""Carries a command out; returns an exit code, by default 0."""

ANSWER_IS_NO = 3
"""The exit code of a command that found what it was asked to look for: other data, damage, something that would run."""
INTERRUPTED = 130


def carry_out(implementation: str, arguments: argparse.Namespace) -> None:
    """Carry a command out.

    Args:
        implementation: ``module:function`` of an :data:`Implementation`.
        arguments: of the command line.

    Raises:
        SystemExit: with the exit code of the command, unless that is 0; 1 and the reason for one that failed.
    """
    # The metadata database may hold the connections. Airflow's own commands find them there by the same means.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    module, _, function = implementation.partition(":")
    verbose = getattr(arguments, "verbose", False)
    disabled = logging.root.manager.disable
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # texts of artifacts may hold what no encoding has
    try:
        with warnings.catch_warnings():
            if not verbose:
                logging.disable(logging.CRITICAL)
                warnings.simplefilter("ignore")
            directory = arguments.directory or settings.workspace_directory()
            quiet_airflow(directory)
            carry = cast("Implementation", getattr(importlib.import_module(module), function))
            code = carry(Workspace(directory, arguments.aws_conn_id, arguments.gcp_conn_id), arguments)
            sys.stdout.flush()
    except KartError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:  # of `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(INTERRUPTED) from None
    finally:
        logging.disable(disabled)
    if code:
        raise SystemExit(code)
