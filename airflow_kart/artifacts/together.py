"""Several artifacts loaded together: outputs of one task are always those of one run."""

from __future__ import annotations

import datetime as dt
import posixpath
import time
from collections.abc import Iterable, Iterator, Sequence

from airflow_kart.artifacts.loading import Loaded, column_names
from airflow_kart.artifacts.sidecar import Sidecar, sidecar_uri
from airflow_kart.artifacts.target import Target
from airflow_kart.exceptions import CorruptArtifactError, MissingArtifactError, ObjectChangedError

_PATIENCE = 30.0  # seconds, for a writer between two steps of its publication
_MOST_ROUNDS = 100


def load_together(targets: Sequence[Target], columns: Sequence[str] | None = None) -> list[object]:
    """Load several artifacts. A task that is made again in the meantime is read again.

    Args:
        targets: outputs of any tasks; of one task, some or all, also several times.
        columns: as for :meth:`airflow_kart.Target.load`.

    Returns:
        The objects, in the order of the targets.

    Raises:
        MissingArtifactError: an artifact is missing, or a task's outputs are of different runs.
        KartError: as :meth:`airflow_kart.Target.load`.
    """
    names = column_names(columns)
    loaded = [target.retrieve(names) for target in targets]
    for indices in _by_task(targets):
        _load_until_one_run(targets, indices, loaded, names)
    for one in loaded:
        one.record()
    return [one.value for one in loaded]


def load_parts_together(targets: Iterable[Target]) -> Iterator[object]:
    """Load several artifacts one after the other, each part by part.

    Raises:
        ObjectChangedError: a task was made again after an output of the former run was handed out.
        KartError: as :meth:`airflow_kart.Target.load_parts`.
    """
    common: dict[str, frozenset[str | None]] = {}
    for target in targets:
        with target.retrieve_parts() as loaded:
            if target.owner is not None and loaded.publications:
                unique_id = target.owner.unique_id
                common[unique_id] = common.get(unique_id, loaded.publications) & loaded.publications
                if not common[unique_id] and None not in loaded.publications:
                    raise ObjectChangedError(
                        f"another run replaced {target.uri} and its task's other outputs during the load; load them again",
                        uri=target.uri,
                    )
            loaded.record()
            yield from loaded.value


def _by_task(targets: Sequence[Target]) -> list[list[int]]:
    """Return the indices of the targets that several of one task, for each of these tasks."""
    found: dict[str, list[int]] = {}
    for index, target in enumerate(targets):
        if target.owner is not None:
            found.setdefault(target.owner.unique_id, []).append(index)
    return [indices for indices in found.values() if len(indices) > 1]


def _load_until_one_run(
    targets: Sequence[Target], indices: Sequence[int], loaded: list[Loaded], columns: Sequence[str] | None
) -> None:
    """Replace those of the loaded outputs of one task that are not of the same run as the others."""
    end = time.monotonic() + _PATIENCE
    for tries in range(_MOST_ROUNDS):
        ids = [loaded[index].publications for index in indices]
        if frozenset.intersection(*ids):
            return
        now = {index: _sidecar_now(targets[index]) for index in indices}
        outdated = [index for index in indices if not _is_unchanged(now[index], loaded[index].sidecar)]
        if not outdated:
            if any(None in publications for publications in ids) and not _differ(ids):
                return  # some were dumped outside of a run; no two are known to be of different runs
            busy = [index for index in indices if _is_replaced_now(targets[index], now[index])]
            if not busy or time.monotonic() > end:
                raise _mixed([targets[index] for index in indices])
            time.sleep(min(0.01 * 2**tries, 1.0))
            outdated = [index for index in indices if not _is_recorded(loaded[index])] or list(indices)
        for index in outdated:
            loaded[index] = targets[index].retrieve(columns)
    raise ObjectChangedError(
        f"other runs kept replacing the outputs of the task at {targets[indices[0]].uri} during the load; load them again",
        uri=targets[indices[0]].uri,
    )


def _differ(ids: Sequence[frozenset[str | None]]) -> bool:
    known = [publications for publications in ids if None not in publications]
    return len(known) > 1 and not frozenset.intersection(*known)


def _sidecar_now(target: Target) -> Sidecar | None:
    try:
        return target.located().sidecar()
    except CorruptArtifactError:
        return None


def _is_unchanged(now: Sidecar | None, before: Sidecar | None) -> bool:
    return now is not None and before is not None and now.content == before.content


def _is_recorded(loaded: Loaded) -> bool:
    """Whether the bytes are those of the sidecar's own record, not an older artifact's."""
    return loaded.sidecar is not None and loaded.sidecar.artifact.sha256 == loaded.sha256


def _is_replaced_now(target: Target, sidecar: Sidecar | None) -> bool:
    """Whether a writer that may still live is in the midst of replacing the artifact."""
    if sidecar is None or sidecar.replaces is None or sidecar.is_requested:
        return False
    located = target.located()
    stat = located.store.stat(sidecar_uri(located.uri))
    age = dt.datetime.now(dt.timezone.utc) - stat.modified if stat is not None else dt.timedelta(0)
    return age.total_seconds() < _PATIENCE


def _mixed(targets: Sequence[Target]) -> MissingArtifactError:
    names = ", ".join(posixpath.basename(target.uri) for target in targets)
    return MissingArtifactError(
        f"the outputs {names} at {targets[0].uri} are of different runs, the last of which was interrupted; "
        "run the task that makes them",
        uri=targets[0].uri,
    )
