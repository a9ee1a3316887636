"""Typed parameters of tasks."""

from __future__ import annotations

from airflow_kart.parameters.base import UNSET, Options, Parameter, ParameterVisibility
from airflow_kart.parameters.choice import EnumParameter
from airflow_kart.parameters.collection import DictParameter, ListParameter
from airflow_kart.parameters.date import DateParameter
from airflow_kart.parameters.frozen import FrozenDict
from airflow_kart.parameters.instance import ListTaskInstanceParameter, TaskInstanceParameter
from airflow_kart.parameters.scalar import BoolParameter, FloatParameter, IntParameter, StrParameter

__all__ = [
    "UNSET",
    "BoolParameter",
    "DateParameter",
    "DictParameter",
    "EnumParameter",
    "FloatParameter",
    "FrozenDict",
    "IntParameter",
    "ListParameter",
    "ListTaskInstanceParameter",
    "Options",
    "Parameter",
    "ParameterVisibility",
    "StrParameter",
    "TaskInstanceParameter",
]
