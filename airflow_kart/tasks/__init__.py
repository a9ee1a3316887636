"""The model that a pipeline's author sees: tasks, what they require and write, and the graph they make.

Lives here: whatever is said about tasks. May not: anything that decides what runs, or runs it.
"""

from __future__ import annotations
