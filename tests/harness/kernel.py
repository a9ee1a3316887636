"""A real Jupyter kernel, whose cells a test executes one by one."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


class CellError(Exception):
    """A cell raised an error; the text is the error's name and message."""


class Kernel:
    """A running kernel in a folder."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client
        self.stderr = ""
        """The texts that cells wrote to stderr."""

    def run(self, code: str) -> str:
        """Execute a cell; return the text that the cell printed."""
        cell = nbformat.v4.new_code_cell(textwrap.dedent(code))  # type: ignore[no-untyped-call]
        self._client.nb.cells.append(cell)
        cell = self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        printed = ""
        for output in cell.outputs:
            if output.output_type == "error":
                raise CellError(f"{output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                self.stderr += output.text
            elif output.output_type == "stream":
                printed += output.text
        return printed

    def value(self, expression: str) -> Any:
        """Return the value of an expression, by way of JSON."""
        return json.loads(self.run(f"import json as _json; print(_json.dumps(({expression})))"))


@contextmanager
def kernel_in(folder: Path, notebook: str | None = None) -> Iterator[Kernel]:
    """Start a kernel, as Jupyter's server does for a notebook of that name, and stop the kernel in the end."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW") and name != "JPY_SESSION_NAME"
    }
    env |= {"AIRFLOW_HOME": str(folder), "IPYTHONDIR": str(folder / ".ipython")}
    env |= {} if notebook is None else {"JPY_SESSION_NAME": str(folder / notebook)}
    client = NotebookClient(
        nbformat.v4.new_notebook(),  # type: ignore[no-untyped-call]
        timeout=60,
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=env):
        yield Kernel(client)
