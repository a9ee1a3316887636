"""Settings that several task classes share."""

from __future__ import annotations

from airflow_kart.parameters.parametrized import Parametrized


class SharedParameters(Parametrized):
    """Base of a class of settings that several tasks share.

    A task class takes all of them by inheriting from it, and single ones, under any name, by assignment. Both have their
    values from the section of the class that declared them, unless the task's own section has one::

        class Region(SharedParameters):
            country: str = StrParameter(default="jp")


        class Visits(Region, TaskOnKart[pd.DataFrame]): ...


        class Holidays(TaskOnKart[list[str]]):
            land: str = Region.country
    """
