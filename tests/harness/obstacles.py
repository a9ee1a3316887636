"""Things that somebody may have put in the place of a file, three folders above which is a file called ``precious``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["OBSTACLES"]


def a_named_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_a_file(path: Path) -> None:
    path.symlink_to(path.parents[2] / "precious")


def a_hard_link(path: Path) -> None:
    path.hardlink_to(path.parents[2] / "precious")


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parents[2] / "nowhere")


def a_folder(path: Path) -> None:
    path.mkdir()


OBSTACLES: list[tuple[Callable[[Path], None], str]] = [
    (a_named_pipe, "a named pipe is in the way; remove it"),
    (a_link_to_a_file, "a symbolic link is in the way; remove the link"),
    (a_link_to_nothing, "a symbolic link is in the way; remove the link"),
    (a_hard_link, r"has another name elsewhere \(a hard link\); remove this one"),
    (a_folder, "a directory is in the way"),
]
"""What puts a thing there, and the words of the error."""
