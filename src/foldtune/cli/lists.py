"""Verbs that write lists of images: data doubts, data subset."""

from __future__ import annotations

from typing import Annotated

from foldtune.cli.app import DATA, JSON, MAIN, MODEL_NAME, words
from foldtune.cli.data import CACHE, SEED, data
from foldtune.cli.places import LIST_OUT
from foldtune.console import emit, facts, table
from foldtune.options.taken import words as said_of

_OF_RULE = "The rule of doubt: own (confident learning), or cleanlab, which an extra brings."


@data.command
def doubts(
    source: DATA,
    out: Annotated[LIST_OUT, words("The CSV to write, a line a doubtful image.", group=MAIN)],
    *,
    model: MODEL_NAME = "micro",
    size: Annotated[int | None, words(said_of()["ModelOptions"]["size"], group=MAIN)] = None,
    by: Annotated[str, words(_OF_RULE)] = "own",
    seed: SEED = 0,
    cache: CACHE = None,
    json: JSON = False,
) -> None:
    """Write images of SOURCE whose label seems wrong to the CSV OUT, most doubtful first.

    Each is judged by a linear probe on MODEL's frozen features that was solved without it.
    """
    from foldtune.options.names import check_model

    check_model(model)
    from foldtune.backbones import load_backbone
    from foldtune.data import load_data
    from foldtune.startup import import_hosts
    from foldtune.study.doubts import doubts as found
    from foldtune.study.doubts import write_doubts

    import_hosts()
    backbone = load_backbone(model, size=size)
    images = load_data(source, size=backbone.transform.size, seed=seed, cache=cache)
    rows = found(images, backbone, seed, by)
    write_doubts(rows, out)
    if json:
        emit(rows)
        return
    table(rows[:20], ("image", "split", "label", "seems", "label_probability", "seems_probability"))
    facts({"doubtful": len(rows), "images": len(images.labels), "out": str(out)})


@data.command
def subset(
    source: DATA,
    out: Annotated[LIST_OUT, words("The list of names to write.", group=MAIN)],
    *,
    shots: Annotated[int, words("Training images a class.", group=MAIN)],
    seed: SEED = 0,
    cache: CACHE = None,
    json: JSON = False,
) -> None:
    """Write the names of SHOTS training images a class to OUT, for index=OUT in a data's name.

    They are the images that --shots trains on with the same seed. A larger number of shots holds
    the smaller one. Images that were not decoded yet are read, since their pictures decide.
    """
    from foldtune.data.shots import write_subset
    from foldtune.data.sources.source import read_source
    from foldtune.data.store.keys import find_keys
    from foldtune.data.store.stored import default_cache

    listing = read_source(source)
    keys = find_keys(listing, default_cache() if cache is None else cache.expanduser())
    told = write_subset(listing, keys, shots, seed, out)
    emit(told) if json else facts(told)
