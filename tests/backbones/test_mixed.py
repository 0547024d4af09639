"""Many tasks in one batch: equal to a model per task; what does not go together is refused."""

import pytest
import torch

from foldtune import attach, load_backbone, save
from foldtune.backbones import load
from foldtune.backbones.mixed import Mixed
from foldtune.errors import InputError
from foldtune.methods import parse


def _tuned(backbone, text, path, seed, classes):
    """A tuning whose tensors all moved, as after training."""
    attachment = attach(backbone, parse(text), num_classes=classes, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    save(attachment, path, {"backbone": backbone.identity()})
    attachment.detach()
    return path


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("micro", size=32)


@pytest.mark.parametrize(
    "text",
    ["SSF", "BitFit", "LayerNorm", "LoRA(rank=2)", "AdaptFormer(rank=2)", "VPTDeep(count=2)"],
)
def test_mixed_batch_equals_a_model_per_task(backbone, text, tmp_path):
    classes = {"flowers": 3, "pets": 5, "cars": 2}
    files = {
        task: _tuned(backbone, text, tmp_path / task, seed, count)
        for seed, (task, count) in enumerate(classes.items())
    }
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    asked = ["pets", "flowers", "pets", "cars", "flowers"]
    mixed = Mixed(backbone, files)
    together = mixed(images, asked)
    mixed.close()
    for i, task in enumerate(asked):
        attachment = load(files[task], backbone)
        with torch.no_grad():
            alone = attachment.model.eval()(images[i : i + 1])[0]
        attachment.detach()
        assert together[i].shape == (classes[task],)
        torch.testing.assert_close(together[i], alone, rtol=1e-4, atol=1e-4)


def test_closing_gives_the_backbone_back(backbone, tmp_path):
    before = {n: t.clone() for n, t in backbone.model.state_dict().items()}
    Mixed(backbone, {"a": _tuned(backbone, "SSF", tmp_path / "a", 0, 3)}).close()
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], t) for n, t in after.items())


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("LoRA(rank=2)", "LoRA(rank=4)"), "they differ at"),
        (("SSF", "BitFit"), "they differ at"),
        (("Full",), "trains .* itself"),
    ],
)
def test_what_does_not_go_together_is_refused_and_undone(backbone, texts, said, tmp_path):
    keys = list(backbone.model.state_dict())
    files = {t: _tuned(backbone, t, tmp_path / str(i), i, 3) for i, t in enumerate(texts)}
    with pytest.raises(InputError, match=said):
        Mixed(backbone, files)
    assert list(backbone.model.state_dict()) == keys


def test_unknown_tasks_and_counts_are_named(backbone, tmp_path):
    mixed = Mixed(backbone, {"a": _tuned(backbone, "SSF", tmp_path / "a", 0, 3)})
    images = torch.zeros(2, 3, 32, 32)
    with pytest.raises(InputError, match="no tuning for the task 'b'"):
        mixed(images, ["a", "b"])
    with pytest.raises(InputError, match="2 images and 1 tasks"):
        mixed(images, ["a"])
    mixed.close()
