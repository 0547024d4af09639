"""What lines of studies say of each claim: for, against or open, in a sentence with its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from _claims_curves import crossing, untuned
from _claims_judged import Found, closeness, ensembles, mistakes, robustness, ssf
from _claims_kept import Line, is_of_today
from against_plain import METHODS

from foldtune.console import duration


def verdicts(lines: Sequence[Line], table: Sequence[Line] = ()) -> list[Found]:
    """One entry a claim and model that has finished studies; table: lines of against_plain.py."""
    found: list[Found] = []
    models = {line["model"] for line in lines} | {line["cell"][0] for line in table}
    for model in sorted(models, reverse=True):
        few, curve, robust = (_studies(lines, model, kind) for kind in ("few", "curve", "robust"))
        makers = (
            (closeness, few), (mistakes, few), (ensembles, few), (crossing, _curves(curve, few)),
            (untuned, [line for line in table if line["cell"][0] == model]),
            (robustness, robust), (ssf, few),
        )  # fmt: skip
        for make, given in makers:
            if given and (one := make(given)) is not None:
                found.append({"model": model, **one, "claim": f"{one['claim']} ({model})"})
    return found


_ELSEWHERE = """## What cannot be said here

The claims were made of ViT-B/16 with the weights of ImageNet-21k, and those of robustness of CLIP,
whose classifier starts from texts. Whoever has a hub tries them with

```
python benchmarks/claims.py DATA --models vit_base_patch16_224.augreg_in21k --page claims-vit.md
python benchmarks/claims.py DATA --models open_clip:ViT-B-16/openai --page claims-clip.md
python benchmarks/claims.py DATA --models mixer_b16_224.goog_in21k --page claims-mlp.md
```

SSF's paper has MLP hosts too, and no pre-trained one is here: the last command is for them. That
what is merged costs nothing is timed beside the plain backbone, in turn: performance.md, "merged".

`micro` is a small ViT and `lite0` a convolutional network, both at few pixels (`SIZES` in
benchmarks/claims.py): on neither does a verdict speak of the papers' backbones."""


def page(found: Sequence[Found], lines: Sequence[Line], table: Sequence[Line] = ()) -> str:
    """The findings as Markdown, with what all of it cost."""
    runs, seconds = (sum(line[key] for line in lines) for key in ("runs", "seconds"))
    kinds = dict.fromkeys(line["kind"] for line in lines)
    ran = "; ".join(
        f"{kind}: " + ", ".join(f"`{line['study']}`" for line in lines if line["kind"] == kind)
        for kind in kinds
    )
    parts = [
        "# The papers' claims, tried here",
        f"{runs:,} runs, {duration(seconds)} of training on two cores or fewer. Every figure is "
        "made from their lines (benchmarks/results/outside/claims.jsonl) by "
        "`python benchmarks/claims.py --only none --page docs/claims.md`; with DATA in "
        "place of `--only none` what is missing runs first. "
        "Intervals are of 95 % over studies (a set with a number of images a class), unless said. "
        "Each method of a study has the same budget; curves, from 30 images a class on, have a "
        "smaller one (three trials, two seeds, ten epochs; else four, three and twenty).",
        f"Finished studies (model, set, images a class, start): {ran}.",
    ]
    if own := [line for line in table if line["cell"][-1] in METHODS]:
        known = [line["processor_seconds"] for line in own if "processor_seconds" in line]
        parts.append(
            f'What says "as fit comes" is of no study but of {len(own)} trainings of the table '
            "beside plain code (docs/findings.md; benchmarks/against_plain.py): no search, three "
            f"seeds, {duration(sum(known))} of one core ({len(known)} say theirs)."
        )
    if earlier := [line["study"] for line in lines if not is_of_today(line)]:
        parts.append(
            "Counted, but to be measured again, since a search tries other values of their methods "
            f"today (docs/findings.md): {', '.join(f'`{study}`' for study in earlier)}."
        )
    for one in found:
        parts.append(f"## {one['claim']}\n\n**{one['verdict'].capitalize()}.** {one['sentence']}")
        if one.get("table"):
            parts.append(_markdown(one["table"]))
        parts.append(f"What would change it: {one['change']}")
    parts.append(_ELSEWHERE)
    return "\n\n".join(parts) + "\n"


def _studies(lines: Sequence[Line], model: str, kind: str) -> list[Line]:
    """Those that have more than one method."""
    own = [line for line in lines if (line["model"], line["kind"]) == (model, kind)]
    return [line for line in own if len(line["board"]) > 1]


def _curves(curve: Sequence[Line], few: Sequence[Line]) -> list[Line]:
    """The points of the curves: where a set has one, its studies of few images begin it."""
    sets = {line["data"] for line in curve}
    return [*(line for line in few if line["data"] in sets), *curve]


def _markdown(table: Sequence[Sequence[str]]) -> str:
    head, *rows = table
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
