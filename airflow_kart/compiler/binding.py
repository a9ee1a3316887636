"""Binding: which of the roots' parameters come from the run, and with which samples the structure is compiled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_kart.exceptions import BindingError, ParameterError
from airflow_kart.operators.blueprint import RootSpec
from airflow_kart.parameters import UNSET, Parameter, ParameterVisibility

__all__ = ["Binding", "is_template", "make_binding", "run_date"]


def run_date(tz: str | None = None, offset: dt.timedelta | None = None) -> str:
    """Return a template for the day of a run, ``YYYY-MM-DD``: of its logical date, or where it has none of its start.

    Args:
        tz: IANA time zone the day is taken in, such as ``"America/New_York"``; by default UTC.
        offset: added before the day is taken; ``timedelta(days=-1)`` gives the day before.

    Raises:
        BindingError: there is no such time zone.
    """
    moment = "(dag_run.logical_date or dag_run.run_after)"
    if tz is not None:
        try:
            ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BindingError(
                f"run_date(tz={tz!r}): there is no such time zone; use a name such as 'Europe/Paris'"
            ) from error
        moment = f"{moment}.astimezone(macros.dateutil.tz.gettz('{tz}'))"
    if offset is not None:
        moment = f"({moment} + macros.timedelta(seconds={offset.total_seconds()!r}))"
    return f"{{{{ {moment} | ds }}}}"


@dataclass(frozen=True)
class Binding:
    """Where the values of the roots' parameters come from in a run, and two samples of them."""

    bind: Mapping[str, Any]
    """Templates and values by parameter name, sorted."""
    form: Mapping[str, tuple[RootSpec, Any]]
    """The parameters of the trigger form: a root that has it, and its default (``UNSET``: required)."""
    samples: Mapping[str, Any]
    """A value for each parameter that a run may change, to compile with."""
    variations: Mapping[str, Any] | None
    """Another value for each of them; ``None`` where one of them offers no other."""


def make_binding(roots: Sequence[RootSpec], bind: Mapping[str, Any]) -> Binding:
    """Check a binding against the roots and choose the values to compile with.

    Raises:
        BindingError: it names an unknown parameter, a value does not fit, or a template stands for a task.
    """
    owners: dict[str, list[RootSpec]] = {}
    for root in roots:
        for name in root.cls.get_parameters():
            owners.setdefault(name, []).append(root)
    for name in bind:
        if name not in owners:
            raise BindingError(
                f"bind names {name!r}, which is no parameter of {', '.join(root.cls.__qualname__ for root in roots)}; "
                f"there are {', '.join(owners) or 'none'}"
            )
    form = _form(owners, bind)
    samples: dict[str, Any] = {}
    variations: dict[str, Any] = {}
    for name in sorted({*bind, *form}):
        root = owners[name][0]
        parameter = root.cls.get_parameters()[name]
        if name in bind and not is_template(bind[name]):
            samples[name] = variations[name] = _read(root, name, bind[name])
            continue
        current = form[name][1] if name in form else UNSET
        samples[name] = current if current is not UNSET else _sample(root, name, parameter)
        variations[name] = _variation(parameter, samples[name])
    varied = None if UNSET in variations.values() else variations
    return Binding({name: bind[name] for name in sorted(bind)}, form, samples, varied)


def is_template(value: object) -> bool:
    """Whether a value is text that Jinja is to render, or a list or dict with such text in it."""
    if isinstance(value, Mapping):
        return any(is_template(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_template(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _form(owners: Mapping[str, list[RootSpec]], bind: Mapping[str, Any]) -> dict[str, tuple[RootSpec, Any]]:
    """Return what the trigger form offers: what counts, may be seen, is not bound, and is the same in all roots."""
    form: dict[str, tuple[RootSpec, Any]] = {}
    for name, roots in owners.items():
        parameter = roots[0].cls.get_parameters()[name]
        offered = parameter.significant and parameter.visibility is ParameterVisibility.PUBLIC and not parameter.holds_tasks
        values = [root.values.get(name, UNSET) for root in roots]
        same_kind = all(type(root.cls.get_parameters()[name]) is type(parameter) for root in roots)
        if name in bind:
            continue
        if offered and same_kind and all(value == values[0] for value in values):
            form[name] = (roots[0], values[0])
        elif UNSET in values:
            raise BindingError(
                f"{roots[values.index(UNSET)].cls.__qualname__}.{name} has no value: bind it, give it a default, or give the "
                "root as a task that has it"
            )
    return form


def _read(root: RootSpec, name: str, value: object) -> Any:
    try:
        return root.read(name, value)
    except ParameterError as error:
        raise BindingError(f"bind[{name!r}] does not fit: {error}") from error


def _sample(root: RootSpec, name: str, parameter: Parameter[Any]) -> Any:
    if parameter.compile_value is not UNSET:
        return parameter.compile_value
    try:
        return parameter.sample()
    except ValueError as error:
        raise BindingError(f"bind[{name!r}]: {root.cls.__qualname__}.{name}: {error}") from error


def _variation(parameter: Parameter[Any], value: Any) -> Any:
    """Return another value of a parameter; ``UNSET`` where it has none to offer, as for a type of the user's own."""
    try:
        return parameter.normalize(parameter.variation(value))
    except (ValueError, TypeError):
        return UNSET
