"""The committed sweep of families is what is found now, and leaves no attention out."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch

from foldtune.errors import InputError
from foldtune.testing.attending import ATTENDING
from foldtune.testing.families import families, smallest
from foldtune.testing.libraries import SOURCES
from lacking import NEEDS_UNIQUE_ON_META

ROOT = Path(__file__).parents[2]
PACKAGES = {"timm": "timm", "transformers": "transformers", "open_clip": "open_clip_torch"}
TABLE = json.loads((ROOT / "benchmarks/families.json").read_text())
ROWS = [(library, f, row) for library, rows in TABLE.items() for f, row in rows.items()]
STANDING = [(library, f, row) for library, f, row in ROWS if "stands" in row]
CONVOLUTIONAL = ("resnet", "convnext", "efficientnet", "regnet", "mobilenetv3", "nfnet")
# One or two of each library, small ones: the rest is swept by `make sweep`.
SAMPLE = (
    ("timm", "vgg"), ("timm", "regnet"), ("timm", "densenet"), ("timm", "levit"), ("timm", "pit"),
    ("transformers", "levit"), ("transformers", "regnet"), ("transformers", "pvt_v2"),
    ("transformers", "siglip"), ("open_clip", "vit"), ("open_clip", "resnet"),
)  # fmt: skip
ALONE = ("dinat", "imagegpt", "perceiver", "shieldgemma2", "siglip2")


@pytest.mark.parametrize(
    ("library", "family"),
    [
        pytest.param(*pair, marks=[NEEDS_UNIQUE_ON_META] if pair == ("timm", "regnet") else [])
        for pair in SAMPLE
    ],
)
def test_row_is_what_is_found_now(library, family):
    row = TABLE[library][family]
    found = vars(SOURCES[library].sweep(row["model"]))
    assert json.loads(json.dumps(found)) == row


def test_every_family_of_every_library_has_its_row():
    assert set(timm.list_modules()) <= set(TABLE["timm"])
    for library, source in SOURCES.items():
        # One that is older than the table's has fewer, and none that the table lacks.
        pinned = f"{PACKAGES[library]}=={version(PACKAGES[library])}\n"
        assert set(source.families()) <= set(TABLE[library])
        if pinned in (ROOT / "constraints.txt").read_text():
            assert set(source.families()) == set(TABLE[library])


def test_every_attention_has_its_projections():
    short = {
        (library, f): row
        for library, f, row in STANDING
        if row["projected"] != row["attention"] or row["shortfall"]
    }
    assert short == {}


def test_attention_is_as_often_as_its_classes_were_counted_by_hand():
    for library, counted in ATTENDING.items():
        rows = {f: row for of, f, row in STANDING if of == library}
        assert {f: r["attention"] for f, r in rows.items()} == {
            f: sum(counted.get(f, {}).values()) for f in rows
        }


@pytest.mark.parametrize("family", ["levit", "twins", "efficientformer_v2", "shvit"])
def test_classes_counted_by_hand_are_those_of_the_source(family):
    model, _ = SOURCES["timm"].host(TABLE["timm"][family]["model"])
    kinds = [type(m).__name__ for m in model.modules()]
    for kind, number in ATTENDING["timm"][family].items():
        assert kinds.count(kind) == number


def test_linear_probe_and_full_tuning_stand_everywhere():
    for library, family, row in STANDING:
        assert {"LinearProbe", "Full", "SSF"} <= set(row["stands"]), (library, family)


def test_what_is_refused_as_a_whole_says_why_in_one_line():
    refused = {family: row["failed"] for _, family, row in ROWS if "failed" in row}
    assert set(refused) == set(ALONE)
    assert all("\n" not in reason for reason in refused.values())


@pytest.mark.parametrize("kind", ["imagegpt", "siglip2"])
def test_a_model_that_takes_no_images_is_refused(kind):
    with pytest.raises(InputError, match=r"names no classifier|does not run on the example"):
        SOURCES["transformers"].sweep(kind)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_seven_methods_and_more_stand_on_convolutional_networks(family):
    assert len(TABLE["timm"][family]["stands"]) >= 7


def test_smallest_of_a_family_is_told_by_its_parameters():
    assert smallest(["resnet50", "resnet18", "resnet34"]) == "resnet18"
    assert "resnet18" in families()["resnet"]


def test_towers_are_grouped_by_what_they_are_made_of():
    found = SOURCES["open_clip"].families()
    assert "ViT-B-32" in found["vit"]
    assert "RN50" in found["resnet"]
    assert "coca_ViT-B-32" in found["vit, attentional pool"]
    assert "convnext_base" in found["timm convnext, pooled by its own"]


def test_hosts_hold_no_weights():
    model, images = SOURCES["open_clip"].host("ViT-B-32")
    assert all(p.device == torch.device("meta") for p in model.parameters())
    assert tuple(images) == (3, 224, 224)


def test_gates_of_one_dimension_keep_no_method_away():
    found = SOURCES["timm"].sweep("ecaresnet26t")  # a Conv1d over channels in every block
    assert {"LoRA", "DoRA", "RepAdapter"} <= set(found.stands)
