"""Values of XComs that grow with the number of tasks, and the keys that operators push and the page reads.

Airflow keeps XComs in its database. Ten thousand rows that differ little take a tenth of their JSON.
"""

from __future__ import annotations

import base64
import bz2
import json
from typing import Any

PLAN_XCOM = "plan"
"""The plan's XCom with a row for each task id."""

REPORT_XCOM = "report"
"""The report's XCom: the task ids of each outcome, reasons, seconds."""

RESULTS_XCOM = "results"
"""The XCom of the plan, or of an operator upstream, with the results of tasks that had no process, by task id."""

CHANGED_CODE_XCOM = "changed_code"
"""The plan's XCom with a line for each class of reused artifacts that were made from other code, or code from elsewhere."""

CODE_XCOM = "code"
"""The plan's XCom with the part ``source`` of a sidecar, for each class of these whose code has changed."""

_MOST_UNPACKED = 128 << 20
_LONGEST = 65_536  # characters that anybody would read


def packed(value: Any) -> Any:
    """Return JSON for an XCom; JSON of more than 64 KiB as its text, compressed with bz2, in base64."""
    text = json.dumps(value, separators=(",", ":"))
    return value if len(text) <= _LONGEST else base64.b64encode(bz2.compress(text.encode())).decode()


def unpacked(value: Any, most: int = _MOST_UNPACKED) -> Any:
    """Return the JSON of an XCom that :func:`packed` made.

    Args:
        value: the XCom.
        most: characters; a few characters may unpack to any number.

    Raises:
        ValueError: somebody else made the XCom.
    """
    if not isinstance(value, str):
        return value
    reader = bz2.BZ2Decompressor()
    text = reader.decompress(base64.b64decode(value), most)
    if not reader.eof:
        raise ValueError("the packed XCom was cut off, or is too long")
    return json.loads(text)
