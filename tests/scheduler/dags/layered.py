"""A thousand small tasks in layers."""

from __future__ import annotations

from airflow_kart import IntParameter, KartDag, TaskOnKart

WIDTH, DEPTH = 111, 9


class Cell(TaskOnKart[int]):
    layer: int = IntParameter()
    column: int = IntParameter()

    def requires(self):
        if self.layer == 0:
            return []
        return [Cell(layer=self.layer - 1, column=column % WIDTH) for column in (self.column, self.column + 1)]

    def output(self):
        return self.make_target("cells/cell.pkl")

    def run(self):
        self.dump(self.column)


class Total(TaskOnKart[int]):
    def requires(self):
        return [Cell(layer=DEPTH - 1, column=column) for column in range(WIDTH)]

    def run(self):
        self.dump(sum(self.load()))


if __name__ == "__main__":
    from airflow_kart import build

    print(build(Total()))
else:
    KartDag("layered", Total(), schedule=None)
