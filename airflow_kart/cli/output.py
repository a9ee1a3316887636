"""Answers of commands: tables for people, and JSON, YAML or plain columns for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_kart.views.caption import one_line

MACHINES = ("json", "yaml")
"""The outputs that programs read."""
OUTPUTS = ("table", *MACHINES, "plain")
_BETWEEN = 2.0
"""Seconds between two words of progress."""


def show(rows: Sequence[Mapping[str, Any]], output: str, *, right: Sequence[str] = (), heading: str = "") -> None:
    """Print rows that all have the same keys.

    Args:
        rows: the rows; JSON and YAML have them as they are.
        output: one of :data:`OUTPUTS`.
        right: the keys whose texts a table aligns to the right.
        heading: a line before a table.
    """
    if output in MACHINES:
        show_document([dict(row) for row in rows], output)
        return
    if heading and output == "table":
        print(heading)
    if not rows:
        print("nothing found", file=sys.stderr)
        return
    texts = [[_text(value, output) for value in row.values()] for row in rows]
    if output == "plain":
        widths = [max(len(text) for text in column) for column in zip(list(rows[0]), *texts, strict=True)]
        for line in (list(rows[0]), *texts):
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for key in rows[0]:
        table.add_column(key.replace("_", " "), justify="right" if key in right else "left", overflow="fold")
    for line in texts:
        table.add_row(*map(Text, line))  # texts of sidecars are no markup
    # A file or a pipe has no width: nothing is folded there.
    console = Console(emoji=False, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def show_document(document: Any, output: str) -> None:
    """Print a document as YAML, or else as JSON."""
    if output == "yaml":
        import yaml

        print(yaml.safe_dump(json.loads(json.dumps(document, default=str)), sort_keys=False, allow_unicode=True), end="")
        return
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, default=str)
    print(text)


def progress(words: str) -> Callable[..., None]:
    """Return a function that writes a number, and perhaps of how many, to ``stderr`` now and then."""
    said = time.monotonic()

    def tell(done: int, of: int | None = None) -> None:
        nonlocal said
        if time.monotonic() - said > _BETWEEN:
            said = time.monotonic()
            print(f"{done:,} {'' if of is None else f'of {of:,} '}{words}", file=sys.stderr, flush=True)

    return tell


def _text(value: Any, output: str) -> str:
    if value is None or value == "":
        return "-" if output == "plain" else ""
    return "\n".join(map(one_line, str(value).split("\n")))  # anybody's text: no escape sequence reaches a terminal
