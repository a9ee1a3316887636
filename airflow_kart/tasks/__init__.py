"""The model that a pipeline's author sees: tasks, their requirements and outputs, and the graph that they make.

Lives here: every statement about tasks. May not: the decision which tasks run, and running them.
"""

from __future__ import annotations
