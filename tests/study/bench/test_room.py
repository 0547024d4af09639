"""The disk is asked for what a run or a study will leave, before anything is trained."""

from collections import namedtuple

import pytest

import foldtune
from foldtune import files
from foldtune.core.attach import attach
from foldtune.data import load_data
from foldtune.errors import Unwritable
from foldtune.methods.catalogue import parse
from foldtune.study.bench.room import refuse_full_run, refuse_full_study, size_of, trained_bytes
from foldtune.study.results.store import Store
from foldtune.training.recipe import Recipe

Usage = namedtuple("Usage", "total used free")
MIB = 1 << 20


@pytest.fixture
def free(monkeypatch):
    """Have every disk say that so many bytes are free."""

    def say(count):
        monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Usage(count, 0, count))

    return say


@pytest.fixture(scope="module")
def backbone():
    return foldtune.load_backbone("micro", size=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load_data("digits", size=16, cache=tmp_path_factory.mktemp("cache")).few_shot(2)


def test_a_tuning_of_all_weights_counts_every_weight(backbone):
    weights = size_of(backbone.model)
    attachment = attach(backbone, parse("Full()"), num_classes=10, seed=0)
    assert trained_bytes(attachment) == pytest.approx(weights, rel=0.15)  # another classifier
    attachment.detach()
    small = attach(backbone, parse("BitFit()"), num_classes=10, seed=0)
    assert trained_bytes(small) < weights / 20
    small.detach()


def test_a_run_asks_for_four_tunings_and_its_logits(backbone, data, free, tmp_path):
    attachment = attach(backbone, parse("Full()"), num_classes=10, seed=0)
    images = len(data.splits["val"]) + len(data.splits["test"])
    needed = 4 * trained_bytes(attachment) + images * 10 * 4 + MIB
    attachment.detach()
    attachment = attach(backbone, parse("Full()"), num_classes=10, seed=0)
    free(needed)
    refuse_full_run(tmp_path / "a" / "b", attachment, data)
    free(needed - 1)
    with pytest.raises(Unwritable, match=r"b needs about \d+ MiB and \d+ MiB are free"):
        refuse_full_run(tmp_path / "a" / "b", attachment, data)
    attachment.detach()


def test_a_study_asks_for_less_where_its_folder_holds_some(backbone, data, free, tmp_path):
    asked = (backbone.model, data, {"a": 5 * MIB, "b": MIB}, 4, 3)
    free(3 * 6 * MIB + size_of(backbone.model) + 20 * MIB)
    refuse_full_study(tmp_path, *asked)
    free(20 * MIB)
    with pytest.raises(Unwritable, match="MiB are free"):
        refuse_full_study(tmp_path, *asked)
    (tmp_path / "held").write_bytes(bytes(30 * MIB))
    refuse_full_study(tmp_path, *asked)


def test_a_full_disk_stops_a_comparison_before_its_first_run(backbone, data, free, tmp_path):
    free(MIB)
    with pytest.raises(Unwritable, match="needs about"):
        foldtune.compare(data, backbone, ["Full"], out=tmp_path / "study", trials=1, seeds=1)
    assert Store(tmp_path / "study").rows() == []
    with pytest.raises(Unwritable, match="needs about"):
        foldtune.fit(data, backbone, "Full", out=tmp_path / "fit")
    assert not (tmp_path / "fit").exists()


def test_a_disk_that_is_full_at_the_merge_ends_the_comparison_and_the_next_call_merges(
    backbone, data, free, tmp_path
):
    asked = {"trials": 1, "seeds": 1, "recipe": Recipe(epochs=1), "head": "zero"}
    left = size_of(backbone.model) + 8 * MIB
    free(left)

    def fill(line):  # as the final run is done
        if "test" in line:
            free(MIB)

    with pytest.raises(Unwritable, match="merged"):
        foldtune.compare(data, backbone, ["BitFit"], out=tmp_path / "s", say=fill, **asked)
    free(left)
    done = foldtune.compare(data, backbone, ["BitFit"], out=tmp_path / "s", **asked)
    assert done.merged == tmp_path / "s" / "merged.safetensors"
