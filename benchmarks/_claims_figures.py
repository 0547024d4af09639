"""One page of figures of the papers' claims, drawn from what `_claims.py` found in the rows."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from foldtune.report.charts import GREY, PALETTE, finish, names_down
from foldtune.report.paper import converter, vega_lite

Found = Mapping[str, Any]
Points = Sequence[Mapping[str, Any]]
_WIDTH = 620
_STYLE = """
:root { --page: #fdfdfc; --ink: #1b1d21; --soft: #5a5f69; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --page: #15171b; --ink: #e6e7ea; --soft: #a2a7b1; } }
body { margin: 0 auto; max-width: 46rem; padding: 2rem 1.2rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
figure { margin: 1rem 0; break-inside: avoid; } figcaption, .soft { color: var(--soft); }
svg { width: 100%; height: auto; }
"""


def figures(found: Sequence[Found], command: str) -> str:
    """The page as HTML without network: a claim's verdict, its sentence and its figure.

    command: what makes it again. Raises NotInstalled without the extra `report`.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>The papers' claims, tried here</title><style>{_STYLE}</style>",
        f"<h1>The papers' claims, tried here</h1><p class=soft>Drawn from rows by "
        f"<code>{html.escape(command)}</code>.</p>",
    ]
    for one in found:
        parts.append(f"<h2>{html.escape(one['claim'])}</h2>")
        verdict = html.escape(one["verdict"].capitalize())
        parts.append(f"<p><strong>{verdict}.</strong> {html.escape(one['sentence'])}</p>")
        for caption, chart in _charts(one):
            title = html.escape(caption)
            parts.append(f"<figure>{_svg(chart)}<figcaption>{title}</figcaption></figure>")
        parts.append(f"<p class=soft>What would change it: {html.escape(one['change'])}</p>")
    return "\n".join(parts) + "\n"


def write_figures(found: Sequence[Found], path: Path, command: str) -> None:
    """The page in a file."""
    path.write_text(figures(found, command), encoding="utf-8")


def _charts(one: Found) -> list[tuple[str, alt.LayerChart]]:
    """Those of a claim, each with what it shows."""
    points: Points = one.get("points", [])
    if not points:
        return []
    if "images" in points[0]:
        return [
            (f"Test accuracy by training images, {name}.", _lines(_of(points, name)))
            for name in dict.fromkeys(p["group"] for p in points)
        ]
    if "away" in points[0]:
        return [
            (f"Accuracy on other domains by that at home, from start to tuned; start: {name}.",
             _frontiers(_of(points, name)))
            for name in dict.fromkeys(p["group"] for p in points)
        ]  # fmt: skip
    unit = "test accuracy, %" if "accuracy" in points[0] else "points"
    return [(f"A dot a study, a bar their mean; {unit}.", _dots(points, unit))]


def _of(points: Points, name: str) -> Points:
    return [p for p in points if p["group"] == name]


def _dots(points: Points, unit: str) -> alt.LayerChart:
    field = "accuracy" if "accuracy" in points[0] else "value"
    names = list(dict.fromkeys(p["label"] for p in points))
    scale = alt.Scale(zero=field == "value", nice=True)
    x = alt.X(f"{field}:Q", title=unit, scale=scale, axis=alt.Axis(tickCount=8))
    base = alt.Chart().encode(y=names_down("label", names))
    dots = base.mark_circle(size=60, opacity=0.6, color=PALETTE[0]).encode(x=x)
    means = base.mark_tick(thickness=3, size=16, color=PALETTE[1]).encode(x=f"mean({field}):Q")
    layers = [dots, means]
    if field == "value":
        layers.append(alt.Chart().mark_rule(color=GREY).encode(x=alt.datum(0)))
    return finish(*layers, values=points, description=unit, height=34 * len(names) + 20)


def _colour(points: Points) -> alt.Color:
    names = sorted({p["label"] for p in points})  # one colour a method, whatever the chart
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    return alt.Color("label:N", scale=alt.Scale(domain=names, range=colours), title=None)


def _lines(points: Points) -> alt.LayerChart:
    seen = sorted({p["images"] for p in points})
    axis = alt.Axis(values=seen, format="~s")
    x = alt.X(
        "images:Q",
        title="training images",
        scale=alt.Scale(type="log", nice=False, padding=20),
        axis=axis,
    )
    y = alt.Y("accuracy:Q", title="test accuracy, %", scale=alt.Scale(zero=False))
    line = alt.Chart().mark_line(point=True).encode(x=x, y=y, color=_colour(points))
    return finish(line, values=points, description="accuracy by training images")


def _frontiers(points: Points) -> alt.LayerChart:
    x, y = (
        alt.X("home:Q", title="at home, %", scale=alt.Scale(zero=False)),
        alt.Y("away:Q", title="on other domains, %", scale=alt.Scale(zero=False)),
    )
    shared: dict[str, Any] = {"x": x, "y": y, "color": _colour(points)}
    path = alt.Chart().mark_line(point=True).encode(**shared, order="alpha:Q", detail="label:N")
    return finish(path, values=points, description="accuracy away by accuracy at home")


def _svg(chart: alt.LayerChart) -> str:
    # Names are measured in another font than the page's: without room their start is cut off.
    room = {"left": 40, "right": 10, "top": 5, "bottom": 5}
    specification = chart.properties(width=_WIDTH, padding=room).to_dict()
    return str(converter().vegalite_to_svg(specification, vl_version=vega_lite()))
