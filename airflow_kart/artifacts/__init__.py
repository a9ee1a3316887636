"""Bytes with their sidecar: targets, how they are published, read and checked.

Here lives everything that holds for an artifact whichever task made it. Code that knows tasks does not belong here: a
target knows its ``Owner`` only.
"""

from __future__ import annotations
