"""A workspace on the disk of one host, with an executor whose workers run on several."""

from __future__ import annotations

import functools
import logging
import os

from airflow.sdk.definitions.context import get_parsing_context

from airflow_kart.settings import airflow_option
from airflow_kart.storage import KeepsFiles
from airflow_kart.storage.workspace import Workspace

_OF_ONE_HOST = ("LocalExecutor", "SequentialExecutor")
_MOUNTS = "/proc/self/mounts"
_DISKS = frozenset({"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})

log = logging.getLogger(__name__)


def several_hosts_advice(workspace: Workspace) -> str:
    """Return the advice for a workspace that workers on other hosts may not see; empty for any other workspace."""
    executors = (airflow_option("core", "executor") or "").replace(";", ",").split(",")
    remote = [name for name in (words.strip() for words in executors) if name and not name.endswith(_OF_ONE_HOST)]
    store = workspace.store
    if not remote or not isinstance(store, KeepsFiles) or not _is_disk(store.path(workspace.directory)):
        return ""
    return (
        f"the workers of {remote[0]} run on several hosts, and {workspace.directory} is on a disk of this host: where the "
        "hosts do not share it, no worker sees what another made. Set workspace_directory to a bucket, or to a volume that "
        "all hosts mount (docs/deployment.md)"
    )


@functools.lru_cache(maxsize=64)
def warn_while_parsing(workspace: Workspace) -> None:
    """Log the advice once per process, where the DAG processor or a command parses the file; a task's log shows the plan's."""
    if get_parsing_context().task_id is None and (advice := several_hosts_advice(workspace)):
        log.warning("%s", advice)


def _is_disk(path: str) -> bool:
    """Whether a directory, or its nearest parent that exists, is on a file system of one host, as far as the kernel tells."""
    try:
        with open(_MOUNTS, encoding="utf-8") as lines:
            mounts = dict(line.split(" ")[1:3] for line in lines)
    except (OSError, ValueError):
        return True
    place = os.path.realpath(path)
    while place.replace(" ", "\\040") not in mounts and place != "/":
        place = os.path.dirname(place)
    return mounts.get(place.replace(" ", "\\040"), "overlay") in _DISKS
