"""Running tasks: what a run will do and why, and one way to run one task."""

from __future__ import annotations
