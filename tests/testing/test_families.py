"""The committed sweep of timm's families is what is found now, and leaves no attention out."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import timm

from foldtune.testing.families import families, smallest, sweep

TABLE = json.loads((Path(__file__).parents[2] / "benchmarks/families.json").read_text())
CONVOLUTIONAL = ("resnet", "convnext", "efficientnet", "regnet", "mobilenetv3", "nfnet")


@pytest.mark.parametrize("family", ["vgg", "regnet", "levit", "pit"])
def test_row_is_what_is_found_now(family):
    assert asdict(sweep(TABLE[family]["model"])) == TABLE[family]


def test_every_family_of_timm_has_its_row():
    assert set(timm.list_modules()) <= set(TABLE)


def test_every_attention_has_its_projections():
    short = {f: r for f, r in TABLE.items() if r["projected"] != r["attention"] or r["shortfall"]}
    assert short == {}


def test_linear_probe_and_full_tuning_stand_everywhere():
    for family, row in TABLE.items():
        assert {"LinearProbe", "Full", "SSF"} <= set(row["stands"]), family


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_seven_methods_and_more_stand_on_convolutional_networks(family):
    assert len(TABLE[family]["stands"]) >= 7


def test_smallest_of_a_family_is_told_by_its_parameters():
    assert smallest(["resnet50", "resnet18", "resnet34"]) == "resnet18"
    assert "resnet18" in families()["resnet"]
