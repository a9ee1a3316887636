"""The arguments with which a task is made: by position or by keyword, each for a parameter that exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from airflow_kart.exceptions import ParameterError, UnknownParameterError
from airflow_kart.identity.spelling import closest
from airflow_kart.parameters.former import advice_for


def by_name(
    owner: str, known: Iterable[str], by_position: Sequence[str], positional: Sequence[object], values: Mapping[str, object]
) -> dict[str, object]:
    """Return all arguments by name.

    Args:
        owner: the name of the class, for errors.
        known: the names of the parameters.
        by_position: the names of the parameters that take values by position, in order.
        positional: the values by position.
        values: the values by keyword.

    Raises:
        ParameterError: there are too many values, or two for one parameter.
    """
    if len(positional) > len(by_position):
        by_keyword = ", ".join(f"{name}=..." for name in known)
        most = f"only {', '.join(by_position)} by position, not {len(positional)} values"
        raise ParameterError(
            f"{owner} takes {most if by_position else 'its parameters by keyword'}: {owner}({by_keyword})", task=owner
        )
    given = dict(zip(by_position, positional, strict=False))
    if twice := sorted(given.keys() & values.keys()):
        names = ", ".join(twice)
        raise ParameterError(
            f"{owner} got {names} twice: by position and by keyword; give it once", task=owner, parameter=twice[0]
        )
    return {**given, **values}


def refuse_unknown(owner: str, known: Sequence[str], given: Iterable[str]) -> NoReturn:
    """Raise the error that some names are no parameters: with the name that was probably meant, or gokart's here.

    Raises:
        UnknownParameterError: always.
    """
    unknown = sorted(set(given) - set(known))
    name, advice = unknown[0], advice_for(unknown[0])
    close = closest(name, known)
    hint = f"did you mean {close}?" if close else advice or f"it has {', '.join(known) or 'none'}"
    raise UnknownParameterError(f"{owner} has no parameter {', '.join(unknown)}; {hint}", task=owner, parameter=name)
