"""The store that docs/storage.md shows how to write, as a user would have it."""

from __future__ import annotations

import re
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

__all__ = ["OwnStore"]

_PAGE = Path(__file__).parents[2] / "docs" / "storage.md"


def _documented() -> Any:
    blocks = re.findall(r"^```python\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    module = types.ModuleType("harness_own_store")
    sys.modules[module.__name__] = module
    with tempfile.TemporaryDirectory() as directory:
        block = next(block for block in blocks if "class SqliteStore" in block)
        exec(block.replace("tempfile.mkdtemp()", repr(directory)), vars(module))
    return module


OwnStore: Any = _documented().SqliteStore
