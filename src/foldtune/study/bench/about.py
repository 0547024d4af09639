"""What a study says of the data and the backbone that it was made with."""

from __future__ import annotations

from pathlib import Path

from foldtune.analysis.row import Description
from foldtune.data import ImageData
from foldtune.study.bench.bench import Bench
from foldtune.study.results.pictures import clusters, whereabouts


def source_of(data: str | Path | ImageData) -> str:
    """What data is called: the name or path that it was read by."""
    return str(data.facts.get("source", data.name) if isinstance(data, ImageData) else data)


def about_of(bench: Bench) -> Description:
    """What study.json says of backbone and data."""
    import foldtune

    return {
        "backbone": bench.backbone.name,
        "backbone_hash": bench.backbone_hash,
        "pretrained": bench.backbone.pretrained,
        "data": bench.data.name,
        "data_identity": bench.data.identity,
        "images": {name: len(rows) for name, rows in bench.data.splits.items()},
        **whereabouts(bench.data),
        **_judged_by(bench),
        "data_warnings": list(bench.data.facts["warnings"]),
        "conflicts": bench.data.facts["conflicts"],
        "ledger": bench.data.facts.get("ledger", {}),
        "alike": clusters(bench.data),
        "version": foldtune.__version__,
    }


def _judged_by(bench: Bench) -> Description:
    """The task and the metric where they are not one class an image and accuracy."""
    found: Description = {}
    if not bench.data.task.usual:
        found["task"] = repr(bench.data.task)
    if bench.metric:
        found["metric"] = bench.metric
    return found


def title_of(bench: Bench) -> str:
    """What names this study's part of a storage that others share."""
    data, backbone = bench.data, bench.backbone
    return (
        f"{data.name} {data.identity[:8]} {data.facts['split_hash'][:8]} "
        f"{backbone.name} {bench.backbone_hash[:8]}"
    )
