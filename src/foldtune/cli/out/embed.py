"""The verb that writes features of image files: embed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from foldtune.cli.app import FILES, JSON, MAIN, app, hub, words
from foldtune.cli.places import FEATURES_OUT, PAGE_OUT
from foldtune.console import emit, facts, say
from foldtune.options.groups import FileOptions
from foldtune.startup import import_hosts

_OF_MODEL = "A tuning, an exported folder, hf-hub:OWNER/NAME, or a backbone by name."


@app.command
def embed(
    model: Annotated[str, words(_OF_MODEL, group=MAIN)],
    images: FILES | None = None,
    /,
    *,
    out: Annotated[FEATURES_OUT, words("The .npz or .parquet file to write.", group=MAIN)],
    page: Annotated[
        PAGE_OUT | None, words("A page of each image's nearest neighbours.", group=MAIN)
    ] = None,
    neighbours: Annotated[int, words("How many neighbours of each image the page shows.")] = 5,
    size: Annotated[int | None, words("Of a backbone by name: side of its input, pixels.")] = None,
    file: FileOptions = FileOptions(),
    json: JSON = False,
) -> None:
    """Write what reaches the classifier of MODEL, the features of IMAGES, to OUT (.npz, .parquet).

    A file that is no image is told, the others go on, and the exit code is 1.
    """
    import_hosts()
    from foldtune.backbones import load_backbone
    from foldtune.tunings.embed import embed_images, write_features, write_neighbours
    from foldtune.tunings.files import expand, read_list
    from foldtune.tunings.hub import SCHEMES, local
    from foldtune.tunings.usable import Plain, usable

    given = images or read_list(sys.stdin)
    paths, told = expand(given), None
    if Path(model).exists() or model.startswith(SCHEMES):
        tuned, backbone, header = usable(local(Path(model)), file.weights, hub(file.allow_hub))
        told = header.get("data")
    else:
        backbone = load_backbone(model, weights=file.weights, size=size)
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
