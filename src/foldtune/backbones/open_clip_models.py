"""The visual tower of any open_clip model, by its name: `open_clip:ViT-B-32/laion2b_s34b_b79k`.

`build_clip` builds both towers, which zero-shot classification needs; `ImageTower` keeps the visual
one, under the keys that it has in the whole model, with a classifier of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.backbones.backbone import Asked, Backbone, Size, Transform, as_size, sides
from foldtune.backbones.weights import label, load_into, read_state, through_hub
from foldtune.errors import InputError, unknown_name
from foldtune.torchvision_ops import declare_missing_operators

PREFIX = "open_clip:"
# Names of models that bring their own configuration; a slash inside is part of them.
_SCHEMAS = ("hf-hub:", "local-dir:")


class ImageTower(nn.Module):
    """head(v / |v|), v = visual(x): an image's embedding, (B, embed), and a classifier on it.

    visual: an open_clip tower, untouched. head: an Identity until a classifier takes its place.
    The embedding has length one, as in the cosine that the towers were trained by: so a zero-shot
    classifier is an ordinary linear one (clip_text.py), as in WiSE-FT (Wortsman et al., CVPR 2022).
    Keys: `visual.*` as in the two-tower model, so that a merged tower loads back into it.
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.head: nn.Module = nn.Identity()
        self.pretrained_cfg = {"input_size": (3, *sides(_size(visual)))}

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.visual(x)
        # CoCa's tower gives its tokens as well.
        embedding = embedding[0] if isinstance(embedding, tuple) else embedding
        return self.head(F.normalize(embedding, dim=-1))


def load(name: str, asked: Asked) -> Backbone:
    """The visual tower of `name` as a Backbone, filled as `load_backbone` says.

    weights: a file of both towers, of `visual.*` alone, or of a merged tower with its classifier.
    Raises InputError for other channels than red, green and blue.
    """
    if asked.channels not in (None, 3):
        raise InputError(
            f"open_clip builds {name} for red, green and blue, not for {asked.channels} channels; "
            "take a timm model"
        )
    both: Callable[[], nn.Module] | None
    if asked.weights is None:
        build = functools.partial(build_clip, name, asked.pretrained, asked.size, asked.seed)
        tower, both = ImageTower(_visual(build())), build
        source = "hub" if asked.pretrained else f"random, seed {asked.seed}"
    else:
        tower, both = _from_file(name, asked.weights, asked.size)
        source = label(asked.weights)
    found = Backbone(name, "open_clip", tower.eval(), transform_of(tower.visual), source, both)
    return found.try_one_image() if isinstance(asked.size, tuple) else found


def build_clip(
    name: str, pretrained: bool = True, size: Size | None = None, seed: int = 0
) -> nn.Module:
    """The two-tower model that `open_clip:MODEL[/TAG]` names, in eval mode.

    pretrained: the published weights of TAG; else random ones drawn from `seed`. size: input side
    in pixels. Raises InputError where open_clip is not installed, for an unknown model or tag
    (nearest first), a model without tag whose weights are wanted, and a hub out of reach.
    """
    library = import_open_clip()
    model, tag = _split_name(name)
    if not model.startswith(_SCHEMAS):
        _check(library, model, tag, pretrained)
    options: dict[str, Any] = {} if size is None else {"force_image_size": size}
    if not pretrained:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            options |= {"load_weights": False, "pretrained_text": False}
            return _create(library, name, model, options).eval()
    options |= {"pretrained": tag, "require_pretrained": True}
    return _create(library, name, model, options).eval()


def tokenizer_of(name: str) -> Callable[[list[str]], Tensor]:
    """What turns texts into the tokens (texts, context) of the model's text tower.

    Raises InputError where its vocabulary lies on a hub out of reach; CLIP's own is in the library.
    """
    library = import_open_clip()
    try:
        return library.get_tokenizer(_split_name(name)[0])
    except Exception as error:  # transformers and the hub's client raise many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot get the tokenizer of {name} ({reason}); connect to the hub once, take a model "
            "with CLIP's own tokenizer, or start from --head probe"
        ) from error


def transform_of(visual: nn.Module) -> Transform:
    """How the tower wants its images: what its checkpoint says, else what open_clip assumes."""
    config = getattr(visual, "preprocess_cfg", {})
    library = import_open_clip()
    mean, std = (
        tuple(map(float, config.get(key) or usual))
        for key, usual in (
            ("mean", library.OPENAI_DATASET_MEAN),
            ("std", library.OPENAI_DATASET_STD),
        )
    )
    resize = "squash" if config.get("resize_mode") == "squash" else "crop"
    interpolation = config.get("interpolation") or "bicubic"
    return Transform(_size(visual), mean, std, interpolation, resize)


def import_open_clip() -> ModuleType:
    """The library, or the one line that says how to get it."""
    declare_missing_operators()
    try:
        import open_clip
    except ImportError as error:
        raise InputError(
            f"{PREFIX}... needs the library open_clip ({error}); pip install foldtune[open-clip]"
        ) from error
    return open_clip


def _split_name(name: str) -> tuple[str, str | None]:
    """Model and tag of `open_clip:MODEL[/TAG]`."""
    rest = name.removeprefix(PREFIX)
    if rest.startswith(_SCHEMAS):
        return rest, None
    model, _, tag = rest.partition("/")
    return model, tag or None


def _check(library: ModuleType, model: str, tag: str | None, pretrained: bool) -> None:
    if model not in library.list_models():
        raise unknown_name("open_clip model", model, library.list_models())
    tags = library.list_pretrained_tags_by_model(model)
    if tag is not None and tag not in tags:
        raise unknown_name(f"weights of {model}", tag, tags)
    if pretrained and tag is None:
        known = f"{PREFIX}{model}/{tags[0]}, or one of {len(tags) - 1} more" if tags else "none"
        raise InputError(
            f"{PREFIX}{model} does not say which published weights (known: {known}); name them, "
            "give a file with --weights, or train from random ones with --no-pretrained"
        )


def _create(library: ModuleType, name: str, model: str, options: dict[str, Any]) -> nn.Module:
    try:
        return through_hub(name, lambda: library.create_model(model, **options))
    except InputError:
        raise
    except Exception as error:  # the hub's client raises many kinds, none of which the user made
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot build {name} ({reason}); give a file with --weights, or train from random "
            "ones with --no-pretrained"
        ) from error


def _from_file(
    name: str, weights: str | Path, size: Size | None
) -> tuple[ImageTower, Callable[[], nn.Module] | None]:
    """The tower, and what builds both towers again, if the file holds both."""
    state = read_state(weights)
    if not all(key.startswith(("visual.", "head.")) for key in state):
        both = functools.partial(_both_from_file, name, weights, size)
        return ImageTower(_visual(both())), both
    tower = ImageTower(_visual(build_clip(name, pretrained=False, size=size)))
    if "head.weight" in state:
        rows, width = state["head.weight"].shape
        tower.head = nn.Linear(width, rows)
    load_into(tower, state, weights)
    return tower, None


def _both_from_file(name: str, weights: str | Path, size: Size | None) -> nn.Module:
    clip = build_clip(name, pretrained=False, size=size)
    load_into(clip, read_state(weights), weights)
    return clip


def _visual(clip: nn.Module) -> nn.Module:
    return clip.get_submodule("visual")


def _size(visual: nn.Module) -> Size:
    size: Any = getattr(visual, "image_size", 224)
    return as_size(size) or 224
