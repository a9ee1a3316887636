"""Binding: which parameters of the roots a run sets, and with which samples the structure is compiled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_kart.exceptions import BindingError, ParameterError
from airflow_kart.operators.blueprint import RootSpec, is_template, refuse_private_literals
from airflow_kart.parameters import UNSET, Parameter, ParameterVisibility


def run_date(
    tz: str | None = None,
    offset: dt.timedelta | None = None,
    *,
    earliest: dt.date | None = None,
    latest: dt.date | None = None,
) -> str:
    """Return a template for a run's day, ``YYYY-MM-DD``.

    The day is that of the run's partition; without a partition that of the logical date; without both, of the run's start.
    The schedule, a backfill, an asset and a person thus give one day to one partition. Airflow 3.2 knows a partition by its
    key alone: a key that begins with a day, ``2024-05-06``, names the day in whatever zone.

    Args:
        tz: IANA name of the day's time zone, such as ``"America/New_York"``; by default UTC.
        offset: added to the moment; ``timedelta(days=-1)`` gives the day before.
        earliest: the day of all runs before this day.
        latest: the day of all runs after this day, such as the last day that there is data of.

    Raises:
        BindingError: nobody knows a time zone of this name, or an argument is of another type.
    """
    given: tuple[object, object] = (tz, offset)  # of any type, where no type checker looks
    if not isinstance(given[0], (str, type(None))):
        name = getattr(tz, "key", None)
        raise BindingError(
            f"run_date(tz={tz!r}): give the time zone's name, such as {name or 'Europe/Paris'!r}", parameter="tz"
        )
    if not isinstance(given[1], (dt.timedelta, type(None))):
        raise BindingError(
            f"run_date(offset={offset!r}): give a datetime.timedelta, such as timedelta(days=-1)", parameter="offset"
        )
    for name, day in (("earliest", earliest), ("latest", latest)):
        if not isinstance(day, (dt.date, type(None))) or isinstance(day, dt.datetime):
            raise BindingError(f"run_date({name}={day!r}): give a datetime.date", parameter=name)
    zone = ""
    if tz is not None:
        try:
            ZoneInfo(tz)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BindingError(
                f"run_date(tz={tz!r}): there is no such time zone; use a name such as 'Europe/Paris'",
                parameter="tz",
            ) from error
        zone = f".astimezone(macros.dateutil.tz.gettz('{tz}'))"
    shift = f" + macros.timedelta(seconds={offset.total_seconds()!r})" if offset is not None else ""
    day_text = f"(moment{shift}) | ds"
    if earliest is not None:
        day_text = f"[{day_text}, '{earliest}'] | max"
    if latest is not None:
        day_text = f"[{day_text}, '{latest}'] | min"
    return (
        "{% set date, key = dag_run.partition_date | default(none), (dag_run.partition_key | default(none)) or '' %}"
        "{% if not date and key[4:5] == '-' == key[7:8] %}"
        "{% set moment = macros.datetime.strptime(key[:10], '%Y-%m-%d') %}"
        f"{{% else %}}{{% set moment = (date or dag_run.logical_date or dag_run.run_after){zone} %}}{{% endif %}}"
        f"{{{{ {day_text} }}}}"
    )


def run_partition() -> str:
    """Return a template for the key of a run's partition, which Airflow knows from 3.2 on. A run without a key fails."""
    return "{{ (dag_run.partition_key | default(none)) or this_run_has_no_partition_key }}"


@dataclass(frozen=True)
class Binding:
    """The sources of the roots' parameters in a run, and two samples of their values."""

    bind: Mapping[str, object]
    """Templates and values by parameter name, sorted."""
    form: Mapping[str, tuple[RootSpec, object]]
    """The trigger form's parameters by name: a root that has the parameter, and the default (``UNSET``: required)."""
    samples: Mapping[str, object]
    """A value to compile with, for each parameter that a run may change."""
    variations: Mapping[str, object] | None
    """Another value for each of these parameters; ``None`` if a parameter offers no other value."""


def make_binding(roots: Sequence[RootSpec], bind: Mapping[str, object]) -> Binding:
    """Check a binding against the roots, and choose the samples to compile with.

    Raises:
        BindingError: the binding names an unknown parameter, a value does not fit, or a template stands for a task.
    """
    owners: dict[str, list[RootSpec]] = {}
    for root in roots:
        for name in root.cls.get_parameters():
            owners.setdefault(name, []).append(root)
    for name in bind:
        if name not in owners:
            raise BindingError(
                f"bind names {name!r}, which is no parameter of {', '.join(root.cls.__qualname__ for root in roots)}; "
                f"there are {', '.join(owners) or 'none'}",
                parameter=name,
            )
    for root in roots:
        refuse_private_literals(root.cls, bind)
    form = _form(owners, bind)
    samples: dict[str, object] = {}
    variations: dict[str, object] = {}
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


def _form(owners: Mapping[str, list[RootSpec]], bind: Mapping[str, object]) -> dict[str, tuple[RootSpec, object]]:
    """Return the trigger form's parameters: significant, public, unbound, and the same in all roots that have them."""
    form: dict[str, tuple[RootSpec, object]] = {}
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
                "root as a task that has it",
                task=roots[values.index(UNSET)].cls.__qualname__,
                parameter=name,
            )
    return form


def _read(root: RootSpec, name: str, value: object) -> object:
    try:
        return root.read(name, value)
    except ParameterError as error:
        raise BindingError(f"bind[{name!r}] does not fit: {error}", task=root.cls.__qualname__, parameter=name) from error


def _sample(root: RootSpec, name: str, parameter: Parameter[object]) -> object:
    if parameter.compile_value is not UNSET:
        return parameter.compile_value
    try:
        return parameter.sample()
    except ValueError as error:
        raise BindingError(
            f"bind[{name!r}]: {root.cls.__qualname__}.{name}: {error}", task=root.cls.__qualname__, parameter=name
        ) from error


def _variation(parameter: Parameter[object], value: object) -> object:
    """Return another value of a parameter; ``UNSET`` if it offers none, as a user's own type may."""
    try:
        return parameter.normalize(parameter.variation(value))
    except (ValueError, TypeError):
        return UNSET
