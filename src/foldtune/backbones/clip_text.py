"""The zero-shot classifier of a two-tower model: class names in prompts, read by its text tower."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from foldtune import gate
from foldtune.backbones.backbone import Backbone
from foldtune.backbones.open_clip_models import tokenizer_of
from foldtune.errors import InputError

ZERO_SHOT = "zero-shot"
# A short list of our own; a file gives others, such as the 80 that CLIP's authors used.
TEMPLATES = (
    "a photo of a {}.",
    "a close-up photo of a {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "a blurry photo of a {}.",
    "a drawing of a {}.",
    "a picture showing a {}.",
)
_BATCH = 256  # prompts at once
_PROMPTS = gate.fields({
    "templates": gate.list_of(gate.text(), 10_000),
    "words": gate.list_of(gate.list_of(gate.text(1000), 2), 100_000),
})  # fmt: skip


@dataclass(frozen=True)
class Prompts:
    """What the text tower is asked. templates: each with {} in the class's place; words: of
    classes whose name is no English, pairs of name and words."""

    templates: tuple[str, ...] = TEMPLATES
    words: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.templates:
            raise InputError("no templates for the zero-shot classifier; give at least one")
        for template in self.templates:
            if template.count("{}") != 1:
                raise InputError(f"the template {template!r} needs {{}} once, for the class")

    def of(self, name: str) -> list[str]:
        """The prompts of a class; `sea_lion` is a sea lion."""
        told = dict(self.words).get(name) or name.replace("_", " ").strip()
        return [template.replace("{}", told) for template in self.templates]

    @property
    def head(self) -> str:
        """The start of a classifier that these prompts describe, as a run names it."""
        if self == Prompts():
            return ZERO_SHOT
        return f"{ZERO_SHOT} {json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)}"

    @classmethod
    def parse(cls, head: str) -> Prompts:
        """The prompts of such a start."""
        told = head.removeprefix(ZERO_SHOT).strip()
        if not told:
            return cls()
        place = "the start of a classifier"
        given: dict[str, Any] = gate.check_value(gate.parse(told, place), _PROMPTS, place)
        return cls(tuple(given["templates"]), tuple((a, b) for a, b in given["words"]))


def read_templates(path: Path) -> tuple[str, ...]:
    """The templates in a text file, one a line; empty lines and those after # are left out."""
    if not path.is_file():
        raise InputError(f"no templates at {path}; a text file, each line with {{}} for the class")
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def zero_shot_head(
    backbone: Backbone, classes: Sequence[str], prompts: Prompts | None = None
) -> tuple[Tensor, Tensor]:
    """Weight (classes, embed) and bias (classes,) of the zero-shot classifier (Radford et al., ICML
    2021): row k is exp(logit_scale) t_k / |t_k|, t_k the mean over templates of the unit text
    embeddings; the bias is the model's logit bias (SigLIP) or zero.

    On embeddings of length one this is the two-tower model's own answer. Raises InputError for a
    backbone without a text tower, and where the tokenizer cannot be had.
    """
    prompts = prompts or Prompts()
    if backbone.both_towers is None:
        raise InputError(f"{backbone.name} has no zero-shot classifier: {_why(backbone)}")
    tokenize, clip = tokenizer_of(backbone.name), backbone.both_towers().eval()
    texts = [text for name in classes for text in prompts.of(name)]
    embedded = _embed(clip.encode_text, tokenize, texts)  # type: ignore[arg-type]
    means = embedded.view(len(classes), len(prompts.templates), -1).mean(1)
    scale = clip.get_parameter("logit_scale").detach().exp()
    bias = getattr(clip, "logit_bias", None)
    offset = torch.zeros(()) if bias is None else bias.detach()
    return scale * F.normalize(means, dim=-1), offset.reshape(-1)[0].repeat(len(classes))


@torch.no_grad()
def _embed(
    encode: Callable[..., Tensor], tokenize: Callable[[list[str]], Tensor], texts: list[str]
) -> Tensor:
    """Unit embeddings (texts, embed), float32."""
    parts = [texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH)]
    return torch.cat([encode(tokenize(part), normalize=True).float() for part in parts])


def _why(backbone: Backbone) -> str:
    if backbone.source == "open_clip":
        return (
            f"{backbone.weights} holds the visual tower alone; give the file of both towers, or "
            "start from --head probe"
        )
    hint = " (timm's CLIP towers come without text)" if "clip" in backbone.name else ""
    return (
        f"it has no text tower{hint}; take the whole model, such as open_clip:ViT-B-16/openai, or "
        "start from --head probe"
    )
