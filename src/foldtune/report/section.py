"""What a part of the report is made of: sentences, charts and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from foldtune.report.words import of_metric
from foldtune.tasks.metrics import DEFAULT

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Figure:
    """A chart. name: of its files; columns: of its CSV, by heading the field of the chart's data;
    limit: pixels it is at most wide; wide: whether it takes a row of the page for itself."""

    name: str
    title: str
    chart: alt.LayerChart
    columns: Mapping[str, str]
    hint: str = ""
    limit: int | None = None
    wide: bool = True
    metric: str = DEFAULT  # what its charts call accuracy, see `words.of_metric`

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The chart as data; its `$schema` is an address, and the page holds none."""
        # Our charts are checked against the schema by the tests, which takes seconds a page.
        told: dict[str, Any] = self.chart.to_dict(validate=False)
        told.pop("$schema", None)
        found: dict[str, Any] = _rename_in_chart(told, self.metric)
        return found

    @property
    def alternative(self) -> str:
        """What a screen reader says in place of the chart."""
        return str(self.specification["description"])

    @property
    def rows(self) -> list[list[Any]]:
        """The cells of its CSV."""
        values = self.specification["data"]["values"]
        return [[value.get(key) for key in self.columns.values()] for value in values]

    @property
    def columns_json(self) -> str:
        return json.dumps({of_metric([k], self.metric)[0]: v for k, v in self.columns.items()})


@dataclass(frozen=True)
class Table:
    """Cells are text as they are shown. text: the columns that hold words, aligned left."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: tuple[str, ...] = ("method",)


@dataclass(frozen=True)
class Section:
    """key: its anchor; summary: a sentence for the top of the page; template: a file of ours with
    what sentences, charts and tables cannot say, which reads `context`."""

    key: str
    title: str
    words: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    summary: str = ""
    template: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    def rename_score(self, metric: str) -> Section:
        """The same with what is the score that chooses called by the metric's name."""
        return replace(
            self,
            title=of_metric([self.title], metric)[0],
            words=tuple(of_metric(self.words, metric)),
            figures=tuple(
                replace(f, title=of_metric([f.title], metric)[0], metric=metric)
                for f in self.figures
            ),
            tables=tuple(
                replace(t, columns=tuple(of_metric(t.columns, metric))) for t in self.tables
            ),
        )


def _rename_in_chart(told: Any, metric: str) -> Any:
    """A chart as data, with its titles and its description in the metric's name."""
    if isinstance(told, dict):
        return {
            key: of_metric([value], metric)[0]
            if key in ("title", "description") and isinstance(value, str)
            else _rename_in_chart(value, metric)
            for key, value in told.items()
        }
    return [_rename_in_chart(one, metric) for one in told] if isinstance(told, list) else told
