"""The verb that writes features of image files: embed."""

from __future__ import annotations

import sys
from pathlib import Path

from foldtune.cli.app import JSON, TRUST, TrustOptions, app
from foldtune.cli.places import FEATURES_OUT, PAGE_OUT
from foldtune.console import emit, facts, say
from foldtune.startup import import_hosts


@app.command
def embed(
    model: str,
    images: list[Path] | None = None,
    /,
    *,
    out: FEATURES_OUT,
    page: PAGE_OUT | None = None,
    neighbours: int = 5,
    size: int | None = None,
    weights: Path | None = None,
    trust: TrustOptions = TRUST,
    json: JSON = False,
) -> None:
    """Write what reaches the classifier of MODEL, the features of IMAGES, to OUT (.npz, .parquet).

    MODEL: a tuning, an exported folder, or a backbone by name. A folder of IMAGES stands for the
    pictures in it; without any a list is read from standard input, a path a line. A file that is no
    image is told, the others go on, and the exit code is 1.

    page: a page of each image's nearest NEIGHBOURS. size: of a backbone's input, in pixels.
    """
    import_hosts()
    from foldtune.backbones import load_backbone
    from foldtune.tunings.embed import embed_images, write_features, write_neighbours
    from foldtune.tunings.files import expanded, listed
    from foldtune.tunings.hub import SCHEMES, local
    from foldtune.tunings.usable import Plain, usable

    given = images or listed(sys.stdin)
    paths, told = expanded(given), None
    if Path(model).exists() or model.startswith(SCHEMES):
        tuned, backbone, header = usable(local(Path(model)), weights, trust.hub)
        told = header.get("data")
    else:
        backbone = load_backbone(model, weights=weights, size=size)
        tuned = Plain(backbone.model)
    found = embed_images(tuned, backbone, paths, told)
    for name, why in found.broken.items():
        say(f"{name}: {why}")
    write_features(found, out)
    if page is not None:
        write_neighbours(found, page, neighbours)
    said = {"images": len(found.names), "width": found.features.shape[1], "features": str(out)}
    said |= {"broken": len(found.broken), "page": page and str(page)}
    emit(said) if json else facts(said)
    if found.broken:
        raise SystemExit(1)
