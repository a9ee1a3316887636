"""Adoption: what it costs to keep 10,000 artifacts of a class after a change of its code that does not matter.

Under ``code_version = "auto"`` each artifact appears at its new id, as a link with a sidecar of its own; under ``None`` each sidecar
gets the present code. The table shows what sidecars tell of the reasons before the adoption is undone.
"""

from __future__ import annotations

import sys

from side_by_side import Budget, print_table, run_case, verdict

COUNT = 10_000
ADOPT_AT_MOST = 10.0


def main() -> int:
    """Measure, print, and return the exit code."""
    found = run_case("adoption.py", COUNT)
    kinds = {"new ids, by links": found['"auto"'], "same ids": found["None"]}
    print_table(
        (f"{COUNT:,} artifacts", "adopt, s", "CPU s", "undo, s", "CPU s"),
        [
            (name, *(one[step][unit] for step in ("adopted", "undone") for unit in ("seconds", "cpu")))
            for name, one in kinds.items()
        ],
    )
    for name, one in kinds.items():
        print(f"\nreasons in sidecars, {name}:")
        for reason, number in one["told"].items():
            print(f"  {number:6,}  {reason}")
    return verdict(
        [
            *(Budget(f"adoption, {name}", one["adopted"]["seconds"], ADOPT_AT_MOST, " s") for name, one in kinds.items()),
            *(
                Budget(f"adopted, {name}", one["adopted"]["outcomes"]["adopted"], COUNT, at_least=True)
                for name, one in kinds.items()
            ),
            *(Budget(f"left of it when undone, {name}", one["left"], 0) for name, one in kinds.items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
