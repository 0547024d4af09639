"""The start is what training started from, classifier included, also after saving and loading."""

import json

import pytest
import torch

from foldtune.backbones import Backbone, load
from foldtune.backbones.backbone import Transform
from foldtune.core.attach import attach
from foldtune.core.interpolation import ways
from foldtune.core.tensorfile import write_tensors
from foldtune.core.tuningfile import TuningFile, read, save
from foldtune.errors import InputError
from foldtune.methods import (
    SSF,
    AdaptFormer,
    BitFit,
    DiffFit,
    Full,
    LinearProbe,
    LoRA,
    VPTShallow,
)

from .tiny import shift, vit


def started(method, classes=7):
    """An attachment whose classifier starts at values of its own, then moves with the rest."""
    model, x = vit()
    attachment = attach(model, method, example=x, num_classes=classes, seed=0)
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(classes, 24, generator=generator)
    attachment.classifier.start_from(weight, torch.randn(classes, generator=generator))
    start = model(x)
    shift(attachment)
    return attachment, model, x, start


def reloaded(path):
    model, _ = vit()
    half = (0.5, 0.5, 0.5)
    return load(path, Backbone("tiny", "test", model, Transform(32, half, half), "random"))


@pytest.mark.parametrize(
    "method", [LoRA(rank=2), BitFit(), DiffFit(), Full(), LinearProbe(), AdaptFormer(rank=2)]
)
def test_a_loaded_tuning_goes_back_to_its_start_bit_for_bit(method, tmp_path):
    attachment, model, x, start = started(method)
    again = reloaded(save(attachment, tmp_path / "t.safetensors"))
    with again.interpolated(0.0):
        assert torch.equal(again.model(x), start)
    with again.interpolated(1.0):
        assert torch.equal(again.model(x), model(x))
    assert torch.equal(again.model(x), model(x))


def test_ssf_at_zero_is_the_plain_backbone_under_the_first_classifier(tmp_path):
    # SSF's own draw is no identity, and no start either: alpha 0 takes it away.
    attachment, _, x, _ = started(SSF())
    head = attachment.head_start
    again = reloaded(save(attachment, tmp_path / "t.safetensors"))
    plain, _ = vit()
    plain.head = torch.nn.Linear(24, 7).double()
    plain.head.load_state_dict({n.removeprefix("head."): t for n, t in head.items()})
    with again.interpolated(0.0):
        assert torch.equal(again.model(x), plain(x))


def test_file_keeps_the_start_apart_from_the_tuning(tmp_path):
    attachment, *_ = started(LoRA(rank=2))
    path = save(attachment, tmp_path / "t.safetensors")
    assert not [name for name in read(path)[1] if name.startswith("start")]
    assert set(TuningFile(path).start) == {"head.weight", "head.bias"}


def test_without_a_known_start_the_body_alone_moves(tmp_path):
    attachment, *_ = started(LoRA(rank=2))
    path = save(attachment, tmp_path / "t.safetensors")
    header, tensors = read(path)
    old = tmp_path / "old.safetensors"
    write_tensors(tensors, old, {"foldtune": json.dumps({**header, "format": 1})})
    again = reloaded(old)
    assert again.head_start is None
    with pytest.raises(InputError, match="does not tell where its classifier started"):
        again.interpolated(0.5).__enter__()
    with again.interpolated(0.5, 1.0), again.paused():
        pass
    assert not TuningFile(save(again, tmp_path / "again.safetensors")).start


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (LoRA(rank=2), ("weights",)),
        (Full(), ("weights",)),
        (LinearProbe(), ("weights",)),
        (DiffFit(), ("weights, each factor by itself",)),
        (AdaptFormer(rank=2), ("scaled output of side networks",)),
        (SSF() + AdaptFormer(rank=2), ("weights", "scaled output of side networks")),
    ],
)
def test_the_way_between_is_said_in_words(method, told):
    model, x = vit()
    assert ways(attach(model, method, example=x, seed=0)) == told


def test_prompts_keep_their_number_but_the_classifier_may_move():
    model, x = vit()
    attachment = attach(model, VPTShallow(), example=x, num_classes=7, seed=0)
    with pytest.raises(InputError, match="adds tokens"):
        attachment.interpolated(0.5).__enter__()
    with attachment.interpolated(1.0, 0.5):
        pass
