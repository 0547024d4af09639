"""What a part of the report is made of: sentences, charts and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

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

    @cached_property
    def specification(self) -> dict[str, Any]:
        """The chart as data; its `$schema` is an address, and the page holds none."""
        # Our charts are checked against the schema by the tests, which takes seconds a page.
        told: dict[str, Any] = self.chart.to_dict(validate=False)
        told.pop("$schema", None)
        return told

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
    def described(self) -> str:
        return json.dumps(dict(self.columns))


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
