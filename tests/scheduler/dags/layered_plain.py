"""The DAG of ``layered.py`` of plain operators: what Airflow itself takes to skip a thousand tasks."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, BaseOperator, DownstreamTasksSkipped
from airflow.providers.standard.operators.empty import EmptyOperator

WIDTH, DEPTH = 111, 9


class SkipsAll(BaseOperator):
    """Skips the thousand in one go, as a plan does."""

    def execute(self, context):
        raise DownstreamTasksSkipped(tasks=[task_id for task_id in self.dag.task_ids if task_id not in ("plan", "report")])


class Ends(BaseOperator):
    """Takes a process, as a report does."""

    def execute(self, context):
        return {"cached": 1}


with DAG("layered_plain", schedule=None):
    plan = SkipsAll(task_id="plan")
    cells = [EmptyOperator(task_id=f"cell_0_{column}") for column in range(WIDTH)]
    plan >> cells
    for layer in range(1, DEPTH):
        upstream, cells = cells, [EmptyOperator(task_id=f"cell_{layer}_{column}") for column in range(WIDTH)]
        for column, cell in enumerate(cells):
            [upstream[column], upstream[(column + 1) % WIDTH]] >> cell
    total = EmptyOperator(task_id="total")
    cells >> total >> Ends(task_id="report", trigger_rule="all_done")
