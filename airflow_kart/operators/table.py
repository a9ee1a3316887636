"""Tables in a task's log."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_ROWS = 500


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned text; of very many rows, the first."""
    shown = [header, *rows[:_MOST_ROWS]]
    widths = [max(len(row[column]) for row in shown) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if len(rows) > _MOST_ROWS:
        lines.append(f"... and {len(rows) - _MOST_ROWS} more, all in the XCom")
    return "\n".join(lines)
