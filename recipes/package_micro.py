"""Turn what `distil_micro.py` or `pretrain_micro.py` left into the packaged weights and their card.

    python recipes/package_micro.py run tiny-imagenet-64.zip

The weights are rounded to half precision, judged again as they will be loaded (float32), and
written whole or not at all; beside this file `micro.json` keeps the result with its curve, from
which `docs/micro.md` is written. `--card-only` writes the card again from `micro.json`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from cyclopts import App
from micro_files import RESULT, SIDES, WEIGHTS, accuracies, hash_of, run, write_text
from safetensors.torch import load_file

from foldtune.backbones import load_backbone, micro
from foldtune.console import say
from foldtune.core.tensorfile import write_tensors
from foldtune.data import load_data
from foldtune.errors import InputError

HERE = Path(__file__).parent
PACKAGED = Path(micro.__file__).with_name("micro.safetensors")
CARD = HERE.parent / "docs" / "micro.md"
app = App(name="package_micro.py", help=__doc__, help_format="plaintext")


@app.default
def package(
    run: Path | None = None,
    data: Path | None = None,
    *,
    weights: Path = PACKAGED,
    result: Path = HERE / "micro.json",
    card: Path = CARD,
    cache: Path | None = None,
    card_only: bool = False,
) -> None:
    """Package a finished run.

    Parameters
    ----------
    run: The folder that distil_micro.py or pretrain_micro.py wrote.
    data: The data it was trained on.
    weights: Where the half-precision weights go.
    result: Where the result goes.
    card: Where the card goes.
    cache: Folder of decoded images; by default the user's cache.
    card_only: Write the card from the result file, nothing else.
    """
    if not card_only:
        if run is None or data is None:
            raise InputError("give the folder of the run and the data, or --card-only")
        found = packaged(run, data, weights, cache)
        write_text(result, json.dumps(found, indent=1) + "\n")
    write_text(card, card_text(read_result(result)))
    say(f"wrote {card}")


def packaged(run: Path, data: Path, weights: Path, cache: Path | None) -> dict[str, Any]:
    """Write the weights in half precision; the run's result with the accuracy that they have."""
    result = read_result(run / RESULT)
    if hash_of(run / WEIGHTS) != result["weights_sha256"]:
        raise InputError(f"{run / WEIGHTS} is not the file that {RESULT} tells of; train again")
    half = {name: t.half().contiguous() for name, t in load_file(run / WEIGHTS).items()}
    lost = [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]
    if lost:
        raise InputError(f"{lost[0]} does not fit into half precision; nothing was written")
    images = load_data(data, size=micro.SIZE, cache=cache)
    if images.identity != result["data"]["identity"]:
        raise InputError(f"{data} is not the data of the run; give that for {run}")
    backbone = load_backbone("micro", pretrained=False)
    if len(images.classes) != backbone.model.num_classes:
        backbone.model.reset_classifier(len(images.classes))
    backbone.model.load_state_dict({name: tensor.float() for name, tensor in half.items()})
    top1 = accuracies(backbone, images)
    told = {k: result[k] for k in ("start", "seed", "date")} | {"top1": top1}
    write_tensors(half, weights, {"format": "pt", "foldtune.micro": json.dumps(told)})
    say(f"wrote {weights}: " + ", ".join(f"{top1[str(s)]:.2%} at {s} px" for s in SIDES))
    return result | {"packaged_top1": top1, "packaged_sha256": hash_of(weights)}


def read_result(path: Path) -> dict[str, Any]:
    """A result file. Raises InputError where there is none."""
    if not path.is_file():
        raise InputError(f"no result at {path}; the training writes one when it ends")
    return json.loads(path.read_text(encoding="utf-8"))


def card_text(result: Mapping[str, Any]) -> str:
    """The model card, every number from the result."""
    data, top1 = result["data"], result["packaged_top1"]
    start = result["start"]
    if not start.startswith("random"):
        start += " (not random: the weights that stood here before, or a file; see the history)"
    threads = f" with {result['threads']} threads" if result["threads"] else ""
    lines = [f"| {side} px | {top1[str(side)]:.1%} |" for side in SIDES]
    how = "\n".join(
        textwrap.fill(line, 99, initial_indent="- ", subsequent_indent="  ")
        for line in result["how"]
    )
    return f"""# The embedded backbone `micro`

timm's `VisionTransformer(img_size=64, patch_size=8, embed_dim=128, depth=8, num_heads=4,
num_classes={data["classes"]}, dynamic_img_size=True)`: {result["parameters"]:,} parameters, in the
package in half precision, used in float32. RGB in 0..1, mean 0.5, std 0.5; any side that is a
multiple of 8, 64 by default.

Top-1 on the {data["val"]:,} validation images of {data["name"]}, in float32 with the packaged
weights:

| side | top-1 |
|---|---|
{chr(10).join(lines)}

It is there so that everything runs without a network, not to be deployed. How it serves other
tasks: `python recipes/transfer_micro.py`.

## How it was trained

- Data: the {data["train"]:,} training images of {data["name"]}, {data["classes"]} classes, identity
  `{data["identity"]}`. No validation image was trained on; none chose a setting or an epoch.
- Start: {start}. Seed {result["seed"]}.
{how}
- {result["hours"]:.2g} hours of wall time on {result["device"]}{threads}, begun {result["date"]},
  torch {result["torch"]}.

Written by `python recipes/package_micro.py --card-only` from `recipes/micro.json`, which has the
whole recipe.

## Licence of the data

{data["licence"]}
"""


if __name__ == "__main__":
    run(app)
