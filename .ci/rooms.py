"""Count the rooms and floors of the package, and fail above the limits.

A room is a module or package at the package's top level; the public face ``__init__`` is one too. Floors are the longest
chain of imports from room to room. Imports inside functions and under ``TYPE_CHECKING`` count. Circles between
sub-packages are the import contract's to find (``[tool.importlinter]``). One door leads up: the methods of a workspace that ask
the audit.
"""

from __future__ import annotations

import graphlib
import itertools
import sys

import grimp

PACKAGE = "airflow_kart"
FACE = "__init__"
MOST_ROOMS = 24
MOST_FLOORS = 12
DOOR = ("airflow_kart.storage.workspace", "airflow_kart.audit.")


def main() -> None:
    """Print the rooms of each floor, the top floor first; fail above a limit."""
    rooms = imports_between_rooms()
    floors = floors_of(rooms)
    for number, on_floor in itertools.groupby(sorted(rooms, key=lambda room: (-floors[room], room)), floors.__getitem__):
        print(f"  {number:2}  {', '.join(on_floor)}")
    height = max(floors.values())
    print(f"{len(rooms)} rooms on {height} floors; the limits are {MOST_ROOMS} and {MOST_FLOORS}")
    if len(rooms) > MOST_ROOMS or height > MOST_FLOORS:
        sys.exit("put the module into one of the packages, or import in one direction only: CONTRIBUTING.md, The house")


def imports_between_rooms() -> dict[str, set[str]]:
    """Return the rooms that each room imports from."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms: dict[str, set[str]] = {room_of(module): set() for module in graph.modules}
    for module in graph.modules:
        found = graph.find_modules_directly_imported_by(module)
        imported = {room_of(other) for other in found if (module, other[: len(DOOR[1])]) != DOOR}
        rooms[room_of(module)] |= imported - {room_of(module)}
    return rooms


def room_of(module: str) -> str:
    """Return the room that a module belongs to."""
    return module.split(".")[1] if "." in module else FACE


def floors_of(rooms: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room, counted from 1: one above the highest room that the room imports from."""
    floors: dict[str, int] = {}
    try:
        for room in graphlib.TopologicalSorter(rooms).static_order():
            floors[room] = 1 + max((floors[imported] for imported in rooms[room]), default=0)
    except graphlib.CycleError as error:
        sys.exit(f"rooms import each other in a circle: {' -> '.join(reversed(error.args[1]))}")
    return floors


if __name__ == "__main__":
    main()
