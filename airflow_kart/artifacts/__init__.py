"""Bytes with their sidecar: targets, how they are published, read and checked.

Lives here: whatever is true of an artifact whoever made it. May not: anything that knows a task, but for its ``Owner``.
"""

from __future__ import annotations
