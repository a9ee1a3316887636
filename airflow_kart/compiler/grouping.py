"""Which tasks the UI draws together: tasks of one class, where a graph has many."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_kart.compiler.naming import class_label
from airflow_kart.compiler.structure import Key, StructureNode

_WORTH_A_GROUP = 3


def group_labels(nodes: Mapping[Key, StructureNode], task_ids: Mapping[Key, str]) -> dict[Key, str]:
    """Return the label of the task group for each node in a group.

    Classes whose groups would need each other form no groups: Airflow cannot order groups in a circle.
    """
    labels = {key: class_label(node) for key, node in nodes.items()}
    sizes: dict[str, int] = {}
    for label in labels.values():
        sizes[label] = sizes.get(label, 0) + 1
    # A node outside any group is a box of its own.
    boxes: dict[Key, str | Key] = {key: label if sizes[label] >= _WORTH_A_GROUP else key for key, label in labels.items()}
    needs: dict[str | Key, set[str | Key]] = {found: set() for found in boxes.values()}
    for key, node in nodes.items():
        for consumer, _ in node.routes:
            if consumer is not None and boxes[consumer] != boxes[key]:
                needs[boxes[consumer]].add(boxes[key])
    circular = _circular(needs)
    taken = set(task_ids.values())  # tasks and groups share one set of names
    return {
        key: f"{found}__all" if found in taken else found
        for key, found in boxes.items()
        if isinstance(found, str) and found not in circular
    }


def _circular(needs: Mapping[str | Key, set[str | Key]]) -> set[str | Key]:
    """Return the boxes on and between circles, by taking off loose ends from both sides until none is left."""
    left = set(needs)
    wanted_by: dict[str | Key, set[str | Key]] = {box: set() for box in needs}
    for box, found in needs.items():
        for needed in found:
            wanted_by[needed].add(box)
    for edges, back in ((needs, wanted_by), (wanted_by, needs)):
        counts = {box: len(edges[box] & left) for box in left}
        ready = [box for box, count in counts.items() if not count]
        while ready:
            box = ready.pop()
            left.discard(box)
            for other in back[box] & left:
                counts[other] -= 1
                if not counts[other]:
                    ready.append(other)
    return left
