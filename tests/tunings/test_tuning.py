"""What one does with a tuning: the certificate tells the truth, refusals leave nothing behind."""

import pytest
import torch

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.study.fit import fit
from foldtune.tunings.judging import Known, choose
from foldtune.tunings.tuning import evaluate_tuning, merge_tuning, open_tuning


@pytest.fixture(scope="module")
def tuning(digits, tmp_path_factory):
    from foldtune.training.recipe import Recipe

    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
    folder = tmp_path_factory.mktemp("tuning")
    return fit(digits, load_backbone("micro", size=16), "SSF", recipe=recipe, out=folder).tuning


def test_certificate_compares_before_and_after(tuning, backbone, digits, tmp_path):
    certificate = merge_tuning(tuning, tmp_path / "m.safetensors", backbone, digits)
    assert 0 < certificate.largest < 1e-4
    assert certificate.images == min(256, len(digits.split("test")))
    assert certificate.changed == 0
    assert certificate.added == ()


def test_certificate_would_show_a_wrong_merge(tuning, backbone, digits, tmp_path, monkeypatch):
    from foldtune.core.attachment import Attachment

    right = Attachment.merge

    def wrong(self):
        model = right(self)
        with torch.no_grad():
            model.get_parameter("norm.weight").mul_(1.1)
        return model

    monkeypatch.setattr(Attachment, "merge", wrong)
    assert merge_tuning(tuning, tmp_path / "m.safetensors", backbone, digits).largest > 1e-3


def test_certificate_names_keys_that_the_plain_network_lacks(tmp_path, tmp_path_factory):
    # SSF's last pair on ConvNeXt stands where no stored tensor can absorb it.
    from foldtune.training.recipe import Recipe

    backbone = load_backbone("test_convnext", pretrained=False, size=32)
    data = load_data("digits", size=32, cache=tmp_path_factory.mktemp("cache32")).few_shot(2)
    recipe = Recipe(epochs=1, warmup_epochs=0.1)
    path = fit(data, backbone, "SSF", recipe=recipe, out=tmp_path).tuning
    plain = load_backbone("test_convnext", pretrained=False, size=32)
    certificate = merge_tuning(path, tmp_path / "m.safetensors", plain, data)
    assert certificate.largest < 1e-4
    assert len(certificate.added) == 2
    assert "keys beyond" in str(certificate)


def test_merging_leaves_the_callers_backbone_alone(tuning, backbone, digits, tmp_path):
    before = backbone.identity()
    merge_tuning(tuning, tmp_path / "m.safetensors", backbone, digits)
    assert backbone.identity() == before


def test_data_of_other_classes_is_refused_by_name(tuning, tmp_path_factory):
    attachment, backbone, header = open_tuning(tuning)
    shapes = load_data("shapes/count", size=16, cache=tmp_path_factory.mktemp("cache"))
    chosen = choose(Known.of([tuning], [header]), shapes)
    classes = [f"class {name}" for name in header["classes"]]
    with pytest.raises(InputError, match="class '1' of shapes/count is none of the tuning's"):
        evaluate_tuning(attachment, backbone, shapes, classes, chosen)
