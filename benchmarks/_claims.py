"""What rows of studies say of each claim: for, against or open, in a sentence with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from _claims_judged import Found, closeness, crossing, ensembles, mistakes, robustness, ssf

from foldtune.console import duration
from foldtune.errors import InputError
from foldtune.study.results.analyses import analyse
from foldtune.study.results.store import Store


def verdicts(out: Path, sets: Mapping[str, tuple[str, str]]) -> list[Found]:
    """One entry a claim and model that has finished studies."""
    found: list[Found] = []
    models = sorted(
        {p.parent.name.split("-")[0] for p in out.glob("*/*/claims.done")}, reverse=True
    )
    for model in models:
        few, curve, robust = (_studies(out / kind, model) for kind in ("few", "curve", "robust"))
        told = {folder: analyse(folder, draws=500) for folder in few}
        makers = (
            (closeness, few, [_group(folder, sets) for folder in few]), (mistakes, told.values()),
            (ensembles, told.values()), (crossing, curve), (robustness, robust), (ssf, few),
        )  # fmt: skip
        for make, *given in makers:
            if given[0] and (one := make(*given)) is not None:
                found.append({"model": model, **one, "claim": f"{one['claim']} ({model})"})
    return found


_ELSEWHERE = """## What cannot be said here

The claims were made of ViT-B/16 with the weights of ImageNet-21k, and those of robustness of CLIP,
whose classifier starts from texts. Whoever has a hub tries them with

```
python benchmarks/claims.py DATA --models vit_base_patch16_224.augreg_in21k --page claims-vit.md
python benchmarks/claims.py DATA --models open_clip:ViT-B-16/openai --page claims-clip.md
```

`micro` is a small ViT and `lite0` a convolutional network, both at few pixels (`SIZES` in
benchmarks/claims.py): on neither does a verdict speak of the papers' backbones."""


def page(found: Sequence[Found], out: Path) -> str:
    """The findings as Markdown, with what all of it cost."""
    rows = [row for p in out.glob("*/*/claims.done") for row in Store(p.parent).rows()]
    seconds = sum(row["seconds"] or 0.0 for row in rows)
    studies = sorted(p.parent for p in out.glob("*/*/claims.done"))
    names = {room.name: [f"`{s.name}`" for s in studies if s.parent == room]
             for room in dict.fromkeys(s.parent for s in studies)}  # fmt: skip
    ran = "; ".join(f"{room}: {', '.join(each)}" for room, each in names.items())
    parts = [
        "# The papers' claims, tried here",
        f"{len(rows):,} runs, {duration(seconds)} of training on two cores or fewer. Every figure "
        "is made from their rows by `python benchmarks/claims.py DATA --page docs/claims.md`. "
        "Intervals are of 95 % over studies (a set with a number of images a class), unless said.",
        f"Finished studies (model, set, images a class, start): {ran}.",
    ]
    for one in found:
        parts.append(f"## {one['claim']}\n\n**{one['verdict'].capitalize()}.** {one['sentence']}")
        if one.get("table"):
            parts.append(_markdown(one["table"]))
        parts.append(f"What would change it: {one['change']}")
    parts.append(_ELSEWHERE)
    return "\n\n".join(parts) + "\n"


def _studies(room: Path, model: str) -> list[Path]:
    """Those that are finished and have more than one method."""
    done = sorted(p.parent for p in room.glob(f"{model}-*/claims.done"))
    kept = []
    for folder in done:
        try:
            rows = list(Store(folder).rows())
        except InputError:
            continue
        if len({row["label"] for row in rows if row["stage"] == "final"}) > 1:
            kept.append(folder)
    return kept


def _group(folder: Path, sets: Mapping[str, tuple[str, str]]) -> str:
    name = folder.name.split("-", 1)[1]
    return next(
        (g for key, (_, g) in sets.items() if name.startswith(key.replace("/", "-"))), "all"
    )


def _markdown(table: Sequence[Sequence[str]]) -> str:
    head, *rows = table
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
