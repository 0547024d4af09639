import pytest
import torch
import torch.nn.functional as F

from foldtune.errors import InputError
from foldtune.training.recipe import Recipe
from foldtune.training.regularise import (
    drop_path,
    drop_path_modules,
    loss_of,
    mixer,
    set_drop_path,
)

from .tiny import vit


def rates(model):
    return [module.drop_prob for module in drop_path_modules(model)]


def test_drop_path_keeps_the_hosts_profile_over_depth():
    model = vit(drop_path_rate=0.3)
    model.blocks[0].drop_path1 = type(model.blocks[1].drop_path1)(0.15)
    assert set_drop_path(model, 0.1) == pytest.approx([0.15, 0.3, 0.3])
    assert rates(model) == pytest.approx([0.05, 0.1, 0.1])


def test_drop_path_rises_linearly_where_all_rates_were_zero():
    model = vit()
    set_drop_path(model, 0)
    assert rates(model) == [0, 0]
    set_drop_path(model, 0.2)
    assert rates(model) == [0.1, 0.2]


def test_drop_path_comes_back_after_training():
    model = vit()
    with drop_path(model, 0.5):
        assert rates(model) == pytest.approx([0.5, 0.5])
    assert rates(model) == pytest.approx([0.2, 0.2])


def test_drop_path_on_a_model_built_without_is_refused_with_the_cure():
    model = vit(drop_path_rate=0)
    with pytest.raises(InputError, match=r"drop_path_rate=0\.1\)"):
        set_drop_path(model, 0.1)
    assert set_drop_path(model, 0) == []


def test_no_mixing_unless_asked():
    assert mixer(Recipe(), 5) is None


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixing_mixes_pixels_and_labels_alike_and_is_seeded(mixup, cutmix):
    mix = mixer(Recipe(mixup=mixup, cutmix=cutmix), 4)
    labels = torch.arange(4)
    # Channel c of an image of class c is 1, all else 0: the mean pixel is then the mixed label.
    images = torch.eye(4)[:, :, None, None].expand(4, 4, 8, 8).clone()
    for seed in range(5):
        torch.manual_seed(seed)
        mixed, shares = mix(images, labels)
        assert torch.allclose(mixed.mean((2, 3)), shares, atol=1e-6)
        assert torch.allclose(shares.sum(1), torch.ones(4))
        torch.manual_seed(seed)
        again = mix(images, labels)
        assert torch.equal(again[0], mixed)
        assert torch.equal(again[1], shares)


def test_shares_of_fewer_classes_than_the_head_has():
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    shares = F.one_hot(labels, 3).float()
    # The same sum in another order.
    assert loss_of(logits, shares, 0.1).item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(loss_of(logits, labels, 0.1), expected)


def test_the_loss_is_float32_or_wider():
    assert loss_of(torch.randn(2, 3).double(), torch.tensor([0, 1]), 0.0).dtype == torch.float64
    assert loss_of(torch.randn(2, 3).bfloat16(), torch.tensor([0, 1]), 0.0).dtype == torch.float32
