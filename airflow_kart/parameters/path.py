"""Parameters of paths in the file system."""

from __future__ import annotations

from pathlib import Path, PurePath

from typing_extensions import Unpack

from airflow_kart.parameters.base import UNSET, Options, Parameter, described
from airflow_kart.parameters.optional import OptionalOf


class PathParameter(Parameter[Path]):
    """A ``pathlib.Path``. The path counts in the identity, the file's content does not."""

    absolute: bool
    exists: bool

    def __new__(  # type: ignore[misc]
        cls, *, default: Path = UNSET, absolute: bool = False, exists: bool = False, **options: Unpack[Options]
    ) -> Path:
        """Declare a path.

        Args:
            default: path where the caller gives none.
            absolute: whether to make a relative path absolute, from the current directory.
            exists: whether a file or folder must exist at the path in every process that makes the task.
            options: see :class:`Options`.
        """
        return cls._declare(default, options, absolute=absolute, exists=exists)  # type: ignore[no-any-return]

    def check_options(self) -> None:
        """Check the two switches."""
        for name in ("absolute", "exists"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}: give True or False, not {described(getattr(self, name))}")

    def normalize(self, value: object) -> Path:
        """Return the path, with ``absolute=True`` an absolute one."""
        if not isinstance(value, PurePath):
            raise ValueError(f"give a pathlib.Path, not {described(value)}")
        path = Path(value).absolute() if self.absolute else Path(value)
        if self.exists and not path.exists():
            raise ValueError(f"there is nothing at {path}")
        return path

    def parse(self, text: str) -> Path:
        """Read a path's text. Empty text is an error."""
        if not text:
            raise ValueError("the text of a path is empty; write . for the current directory")
        return self.normalize(Path(text))

    def json_schema(self) -> dict[str, object]:
        """Return a ``string`` schema."""
        return {"type": "string", "minLength": 1}

    def sample(self) -> Path:
        """Return a relative path; with ``exists=True`` the current directory."""
        return self.normalize(Path("." if self.exists else "sample"))

    def variation(self, value: Path) -> Path:
        """Return a sibling path; with ``exists=True`` the root of the file system."""
        return self.normalize(Path(value.absolute().anchor) if self.exists else value.parent / f"{value.name}_")


class OptionalPathParameter(OptionalOf[Path], PathParameter):
    """A ``pathlib.Path``, or ``None``."""

    def __new__(  # type: ignore[misc]
        cls, *, default: Path | None = UNSET, absolute: bool = False, exists: bool = False, **options: Unpack[Options]
    ) -> Path | None:
        """Declare a path or ``None``; see :class:`PathParameter`."""
        return cls._declare(default, options, absolute=absolute, exists=exists)  # type: ignore[no-any-return]
