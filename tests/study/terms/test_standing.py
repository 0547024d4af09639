"""Who can take part is tried before the first run; a run that raises costs itself alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from foldtune.backbones import Backbone, load_backbone
from foldtune.backbones.backbone import Transform
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.report.page import write_report
from foldtune.study.compare import compare
from foldtune.study.executors import choose
from foldtune.study.fit import fit
from foldtune.study.results.analyses import analyse
from foldtune.study.results.artefacts import TRACEBACK
from foldtune.study.results.live import summary
from foldtune.study.results.status import status
from foldtune.study.results.store import Store
from foldtune.study.search.halving import Halving
from foldtune.study.terms.settings import METHODS
from foldtune.training.recipe import Recipe

SHORT = Recipe(epochs=1, warmup_epochs=0.1, batch_size=13)


class Fragile(VisionTransformer):
    """Two blocks; its forward pass breaks in training where the file `broken` is there."""

    broken = None

    def forward(self, x):
        many = self.training and len(x) > 2  # not as it is attached
        if many and self.broken is not None and self.broken.exists():
            raise RuntimeError("the host breaks\nin many lines")
        return super().forward(x)


@pytest.fixture
def host():
    torch.manual_seed(0)
    model = Fragile(img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=10)
    return Backbone("fragile", "own", model.eval(), Transform(16, (0.5,) * 3, (0.5,) * 3), "mine")


@pytest.fixture
def study(host, digits, tmp_path):
    def run(*methods, **more):
        lines = []
        options = {"trials": 6, "seeds": 1, "recipe": replace(SHORT, batch_size=64)} | more
        return compare(digits, host, methods, out=tmp_path, say=lines.append, **options), lines

    return run


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Two classes of eleven noise images: 14 of the 22 are trained on."""
    root, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(11):
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return load_data(str(root), size=32, cache=root / "cache")


# -- before the first run --------------------------------------------------------------------------


def test_defaults_without_a_place_on_a_cnn_are_left_out_and_all_others_compared(photos, tmp_path):
    # Some methods were trained, then the study died at one without a place, without a report.
    resnet, lines = load_backbone("resnet10t", pretrained=False, size=32), []
    options = {"trials": 1, "seeds": 1, "recipe": SHORT, "say": lines.append}
    found = compare(photos, resnet, out=tmp_path, **options)
    absent = {"AdaptFormer"}
    assert set(found.left_out) == absent
    assert {entry["label"] for entry in found.leaderboard} == set(METHODS) - absent
    assert all(entry["test_accuracy"] is not None for entry in found.leaderboard)
    assert lines[0].startswith("AdaptFormer left out: AdaptFormer needs blocks with an MLP")
    page = write_report(tmp_path).read_text()
    assert "AdaptFormer was left out: AdaptFormer needs blocks with an MLP; ResNet" in page
    assert found.merged is not None
    assert status(tmp_path).go_on is None


def test_a_named_method_without_a_place_is_refused_before_any_run(photos, tmp_path):
    resnet = load_backbone("resnet10t", pretrained=False, size=32)
    with pytest.raises(InputError, match=r"IA3 needs attention .* Methods that can: .*SSF"):
        compare(photos, resnet, ["LinearProbe", "IA3"], out=tmp_path / "s", recipe=SHORT)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recipe": replace(SHORT, augment=("swirl",))}, "swirl"),
        ({"recipe": replace(SHORT, precision="fp16"), "device": "cpu"}, "fp16 needs a GPU"),
        ({"recipe": replace(SHORT, batch_size=999, drop_last=True)}, "make no batch"),
        ({"head": "zero-shot"}, "no zero-shot classifier"),
        ({"device": "cuda:99"}, "is not here"),
    ],
)
def test_what_no_run_could_have_is_refused_before_any(study, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        study("LinearProbe", **options)
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("method", ["Full", "Full(statistics='moving')"])
def test_a_last_batch_of_one_image_trains_on_a_batch_norm_net(photos, method, tmp_path):
    # 14 images by 13: torch's traceback, "Expected more than 1 value per channel when training".
    resnet = load_backbone("resnet10t", pretrained=False, size=32)
    assert len(photos.split("train")) == 14
    assert fit(photos, resnet, method, out=tmp_path, recipe=SHORT).tuning.exists()


# -- runs that raise -------------------------------------------------------------------------------


def check_study(found, tmp_path):
    """LastBlocks(count=4) cannot stand on two blocks; every other trial is done."""
    trials = [
        row for row in found.rows if row["label"] == "LastBlocks" and row["trial"] is not None
    ]
    lost = [row for row in trials if row["verdict"] != "finished"]
    assert 0 < len(lost) < len(trials)
    assert {row["method"] for row in lost} == {"LastBlocks(count=4)"}
    for row in lost:
        assert row["verdict"].startswith("failed: LastBlocks(count=4): Fragile has only 2 blocks")
    (entry,) = [e for e in found.leaderboard if e["label"] == "LastBlocks"]
    assert entry["failed"] == len(lost)
    assert entry["test_accuracy"] is not None
    page = write_report(tmp_path).read_text()
    assert f"{len(lost)} run" in page
    assert "has only 2 blocks" in page


# On a cluster: test_executors.py. A backbone of one's own never reached a process, and all waited.
@pytest.mark.parametrize("name", ["in-process", "stacked", "processes"])
def test_a_run_that_raises_is_a_failed_row_whoever_executes_it(study, tmp_path, name):
    with choose(name, workers=1, threads=1) as executor:
        found, lines = study("LastBlocks", executor=executor)
    check_study(found, tmp_path)
    assert sum("failed: LastBlocks(count=4)" in line for line in lines) > 0


@pytest.mark.parametrize("options", [{"search": "tpe", "trials": 9}, {"halving": Halving(2, 2)}])
def test_searches_go_on_without_the_runs_that_failed(study, tmp_path, options):
    recipe = replace(SHORT, epochs=2, batch_size=64)
    found, _ = study("LastBlocks", recipe=recipe, **options)
    check_study(found, tmp_path)
    again, lines = study("LastBlocks", recipe=recipe, **options)
    assert again.rows == found.rows  # the search asks the same again, failed runs and all
    assert all(line.endswith("(kept)") for line in lines if line.startswith("LastBlocks"))


def test_a_method_all_of_whose_runs_fail_is_reported_and_retried_on_request(host, study, tmp_path):
    Fragile.broken = tmp_path / "broken"
    Fragile.broken.touch()
    try:
        found, lines = study("LinearProbe", "SSF", trials=2)
    finally:
        Fragile.broken.unlink()
    lost = [row for row in found.rows if row["label"] == "SSF"]
    assert [row["verdict"] for row in lost] == [
        "failed: RuntimeError: the host breaks in many lines"
    ] * 2
    assert "in forward" in (tmp_path / "runs" / lost[0]["run"] / TRACEBACK).read_text()
    assert "SSF: every trial diverged or failed, nothing to test" in lines
    assert found.winner["label"] == "LinearProbe"
    assert "2 runs of SSF failed: RuntimeError" in write_report(tmp_path).read_text()
    now = status(tmp_path)
    assert (now.go_on, now.done) == (None, now.planned)
    assert "2 failed (--retry-failed runs them again)" in summary(now)
    analyse(tmp_path)
    kept, _ = study("LinearProbe", "SSF", trials=2)
    assert kept.rows == found.rows
    mended, _ = study("LinearProbe", "SSF", trials=2, retry_failed=True)
    assert all(row["verdict"] == "finished" for row in mended.rows)
    assert not (tmp_path / "runs" / lost[0]["run"] / TRACEBACK).exists()
    assert [r for r in mended.rows if r["label"] == "LinearProbe"] == [
        r for r in found.rows if r["label"] == "LinearProbe"
    ]
    assert len(Store(tmp_path)) == len(mended.rows) == 6


def test_a_study_of_which_nothing_finished_ends_in_a_page(study, tmp_path):
    Fragile.broken = tmp_path / "broken"
    Fragile.broken.touch()
    try:
        found, _ = study("SSF", trials=1)
    finally:
        Fragile.broken.unlink()
    assert (found.winner, found.merged) == (None, None)
    page = write_report(tmp_path).read_text()
    assert "no method is chosen" in page
    assert "1 run of SSF failed: RuntimeError: the host breaks in many lines." in page
