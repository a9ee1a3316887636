"""The trigger form: what each parameter offers there is what Airflow itself accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FORM = """
import datetime as dt
import enum
import json
from pathlib import Path
from airflow_kart import *
from airflow_kart.operators.run_context import RERUN_PARAM

class Colour(enum.Enum):
    RED = 1
    GREEN = 2

class Root(TaskOnKart[int]):
    day: dt.date = DateParameter(default=dt.date(2026, 3, 17))
    month: dt.date = MonthParameter(default=dt.date(2026, 3, 17))
    year_or: dt.date | None = OptionalYearParameter(default=None)
    minute: dt.datetime = DateMinuteParameter(default=dt.datetime(2026, 3, 17, 19, 7), interval=15)
    zoned: dt.datetime = ZonedDateSecondParameter(default=dt.datetime(2026, 3, 17, 19, tzinfo=dt.timezone.utc))
    zoned_or: dt.datetime | None = OptionalZonedDateSecondParameter(default=None)
    interval: DateInterval = DateIntervalParameter(default=DateInterval.week(2026, 12))
    duration: dt.timedelta = TimeDeltaParameter(default=dt.timedelta(days=1, seconds=1.5))
    share: float = NumericalParameter(var_type=float, default=0.5, min_value=0.0, max_value=1.0, include_min=False)
    depth_or: int | None = OptionalIntParameter(default=None, min_value=1)
    letter_or: str | None = OptionalChoiceParameter(choices=["a", "b"], default=None)
    digits: tuple[int, ...] = ChoiceListParameter(choices=[1, 2], default=[2, 1])
    colour_or: Colour | None = OptionalEnumParameter(enum=Colour, default=None)
    colours: tuple[Colour, ...] = EnumListParameter(enum=Colour, default=[Colour.GREEN])
    path: Path = PathParameter(default=Path("a/b"))
    pair: tuple[int, str] = TupleParameter(default=(1, "a"))
    limits: dict[str, int] = DictParameter(default={"a": 1}, schema={
        "title": "Limits", "description": "By name", "default": {}, "additionalProperties": {"type": "integer"}})
    text: str = StrParameter()

    def run(self):
        self.dump(1)

dag = KartDag("form", Root, schedule=None)
form = {name: dag.params.get_param(name) for name in Root.get_parameters()}
assert form["text"].value == "configured"
for name, param in form.items():
    param.resolve()
made = Root(**{name: Root.get_parameters()[name].read(json.loads(json.dumps(param.value)), "Root", name)
               for name, param in form.items()})
assert made == Root(), (made, Root())

def refused(name, value):
    try:
        form[name].resolve(value)
    except Exception as error:
        return type(error).__name__ == "ParamValidationError"
    return False

wrong = {"day": "2026-3-1", "month": "2026-03-17", "zoned": "yesterday", "share": 1.0, "depth_or": 0, "letter_or": "c",
         "digits": [3], "colours": ["BLUE"], "limits": {"a": "b"}, "interval": "2026-03-17--", "path": "", "minute": "19:07"}
assert [name for name, value in wrong.items() if not refused(name, value)] == []
print(form["limits"].schema.get("title"), form["limits"].description)
"""


def test_airflow_takes_what_the_form_offers(python: Any, clean_settings: Path, script: Any) -> None:
    clean_settings.mkdir()
    (clean_settings / "airflow.cfg").write_text("[kart.Root]\ntext = configured\n", encoding="utf-8")
    assert python(script("form_dag.py", FORM)).strip().splitlines()[-1] == "limits None"
