"""What a task is called: canonical encodings and unique ids, logical names, and fingerprints of code.

Lives here: whatever a name or an id is made of. May not: anything that knows a store, a format or a parameter.
"""

from __future__ import annotations
