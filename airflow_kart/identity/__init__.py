"""The names of tasks: canonical encodings and unique ids, logical names, and fingerprints of code.

This district makes names and ids. Nothing here knows a store, a format or a parameter.
"""

from __future__ import annotations
