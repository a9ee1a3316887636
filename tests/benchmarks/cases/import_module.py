"""Import a module by itself."""

from __future__ import annotations

import importlib
import json
import sys
import time

started = time.perf_counter()
importlib.import_module(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - started, "modules": len(sys.modules)}))
