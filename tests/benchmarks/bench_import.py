"""``import airflow_kart`` by itself, in a fresh process, beside gokart and Airflow's own SDK.

The package loads each name when it is first used, so what ``TaskOnKart`` and ``build`` take is shown too.
"""

from __future__ import annotations

import sys
from functools import partial

from side_by_side import Budget, alternate, median_of, print_table, run_case, verdict

AT_MOST_MILLISECONDS = 50.0
ROUNDS = 15
MODULES = ("airflow_kart", "airflow_kart.runtime.build", "gokart", "airflow.sdk")


def main() -> int:
    """Measure, print, and return the exit code."""
    runs = alternate({name: partial(run_case, "import_module.py", name) for name in MODULES}, ROUNDS)
    milliseconds = {name: median_of(runs[name]) * 1000 for name in MODULES}
    print_table(
        ["import", "milliseconds", "modules loaded", "ratio"],
        [
            [name, milliseconds[name], runs[name][0]["modules"], milliseconds[name] / milliseconds["airflow_kart"]]
            for name in MODULES
        ],
    )
    return verdict([Budget("import airflow_kart:", milliseconds["airflow_kart"], AT_MOST_MILLISECONDS, " ms")])


if __name__ == "__main__":
    sys.exit(main())
