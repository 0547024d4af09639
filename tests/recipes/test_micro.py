"""Pre-training, packaging and transfer at toy size: the same code, four classes, 8 to 16 pixels."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from foldtune.backbones.weights import read_state
from foldtune.errors import InputError

REPOSITORY = Path(__file__).parents[2]
RECIPES = REPOSITORY / "recipes"
UNTIL_THE_THIRD_EPOCH = """
import ast, os, signal, sys
recipes, toy, out, cache, settings, threads = sys.argv[1:]
sys.path.insert(0, recipes)
import torch
torch.set_num_threads(int(threads))
from pathlib import Path
from foldtune.augment.resample import Resample
import pretrain_micro

plain, seen = Resample.at, []

def counted(self, side):
    seen.append(side)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(self, side)

Resample.at = counted
asked = pretrain_micro.Settings(**ast.literal_eval(settings))
pretrain_micro.pretrain(Path(toy), out=Path(out), settings=asked, cache=Path(cache), device="cpu")
"""


@pytest.fixture(scope="session")
def pretraining(recipe_module):
    return recipe_module("pretrain_micro")


@pytest.fixture(scope="session")
def packaging(recipe_module):
    return recipe_module("package_micro")


@pytest.fixture(scope="session")
def settings(pretraining):
    return pretraining.Settings(
        phases="8:2,16:2", parts=2, batch_size=8, warmup_epochs=0.5, ema=0.9, precision="fp32"
    )


@pytest.fixture(scope="session")
def finished(pretraining, settings, toy, cache, tmp_path_factory):
    """The folder of a toy run that nothing disturbed."""
    out = tmp_path_factory.mktemp("run")
    pretraining.pretrain(toy, out=out, settings=settings, cache=cache, device="cpu")
    return out


def test_the_result_says_what_was_done(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["start"] == "random, seed 0"
    assert result["recipe"]["phases"] == [[1, 8], [3, 16]]
    assert result["data"]["train"] == 40
    assert result["data"]["val"] == 12
    assert [("top1_64" in entry) for entry in result["curve"]] == [False, True, False, True]
    # Judged on the averaged weights each time, and these are the ones that are kept.
    assert result["top1"]["64"] == result["curve"][-1]["top1_64"]


def test_killed_and_resumed_gives_the_same_file(
    pretraining, settings, toy, cache, finished, tmp_path
):
    # A process of its own: a fork of one whose threads compute may wait for them for ever.
    words = (RECIPES, toy, tmp_path, cache, repr(asdict(settings)), torch.get_num_threads())
    command = [sys.executable, "-c", UNTIL_THE_THIRD_EPOCH, *map(str, words)]
    child = subprocess.run(command, timeout=120)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "weights.safetensors").exists()
    pretraining.pretrain(toy, out=tmp_path, settings=settings, cache=cache, device="cpu")
    for name in ("weights.safetensors",):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_going_on_from_another_start_is_refused(pretraining, settings, toy, cache, finished):
    with pytest.raises(InputError, match=r"has start 'random, seed 0', not 'embedded"):
        pretraining.pretrain(
            toy, out=finished, settings=settings, cache=cache, device="cpu", start="micro"
        )


@pytest.mark.parametrize("text", ["32", "32:0", "a:1", ""])
def test_a_phase_that_is_none_is_refused(pretraining, text):
    with pytest.raises(InputError, match="SIDE:EPOCHS"):
        pretraining.Settings(phases=text).recipe("cpu")


def test_the_default_schedule_is_a_recipe(pretraining):
    recipe = pretraining.Settings(precision="fp32").recipe("cpu")
    assert recipe.side(1) == 32
    assert recipe.side(recipe.epochs) == 64


@pytest.fixture(scope="session")
def package(packaging, finished, toy, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("package")
    packaging.package(
        finished, toy, weights=out / "micro.safetensors", result=out / "micro.json",
        card=out / "micro.md", cache=cache,
    )  # fmt: skip
    return out


def test_the_package_is_the_run_in_half_precision(finished, package):
    full, half = (
        load_file(folder / name)
        for folder, name in ((finished, "weights.safetensors"), (package, "micro.safetensors"))
    )
    assert list(half) == list(full)
    assert all((full[name].half() == half[name]).all() for name in full)
    assert read_state(package / "micro.safetensors").keys() == full.keys()
    with safe_open(package / "micro.safetensors", "pt") as file:
        assert json.loads(file.metadata()["foldtune.micro"])["start"] == "random, seed 0"


def test_the_card_is_computed_from_the_result(packaging, package):
    result, card = (package / "micro.json", package / "micro.md")
    text = card.read_text()
    top1 = json.loads(result.read_text())["packaged_top1"]
    assert f"| 64 px | {top1['64']:.1%} |" in text
    assert "1 passes at 8 px, then 1 passes at 16 px" in text
    assert "random, seed 0" in text
    assert "non-commercial research" in text
    card.unlink()
    packaging.package(result=result, card=card, card_only=True)
    assert card.read_text() == text


def test_the_card_in_the_documentation_is_that_of_the_kept_result(packaging):
    kept = REPOSITORY / "recipes" / "micro.json"
    if not kept.exists():
        pytest.skip("recipes/micro.json is not there: nothing was packaged with this recipe yet")
    text = (REPOSITORY / "docs" / "micro.md").read_text()
    result = packaging.read_result(kept)
    assert text == packaging.card_text(result)
    assert packaging.hash_of(packaging.PACKAGED) == result["packaged_sha256"]


def test_what_does_not_belong_together_is_not_packaged(packaging, finished, cache, tmp_path):
    with pytest.raises(InputError, match="no result at"):
        packaging.package(tmp_path, tmp_path, cache=cache)
    with pytest.raises(InputError, match="give the folder of the run"):
        packaging.package()
    (tmp_path / "result.json").write_text((finished / "result.json").read_text())
    (tmp_path / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="is not the file that"):
        packaging.packaged(tmp_path, tmp_path, tmp_path / "out", cache)


def test_a_distilled_run_is_packaged_like_any(recipe_module, packaging, toy, cache, tmp_path):
    distilling = recipe_module("distil_micro")
    settings = distilling.Settings(
        passes=8, teacher_passes=8, batch_size=16, teacher_width=64, teacher_depth=1, sides=(8, 16),
        odds=(1, 1), ema=0.5, mixup=0.3, cutmix=0.3,
    )  # fmt: skip
    told = distilling.distil(toy, out=tmp_path, settings=settings, cache=cache, device="cpu")
    assert told["top1"]["64"] > 0.5  # four colours: chance is 0.25
    out = tmp_path / "package"
    out.mkdir()
    packaging.package(
        tmp_path, toy, weights=out / "micro.safetensors", result=out / "micro.json",
        card=out / "micro.md", cache=cache,
    )  # fmt: skip
    assert "at one of 8 px, 16 px (odds 1:1)" in (out / "micro.md").read_text()


def test_the_warp_crops_and_flips_all_and_bends_thirty_percent(recipe_module):
    ramp = torch.arange(16.0).expand(200, 1, 16, 16)  # each picture rises from left to right
    found = recipe_module("warp").warped(ramp, 16, 0.3, torch.Generator().manual_seed(3))[:, 0]
    upright = found.std(1).amax(1) < 1e-4  # unbent columns are constant
    assert 0.6 < upright.double().mean() < 0.8
    rises = found[upright][:, 8].diff(dim=1)
    rising, falling = (rises >= 0).all(1), (rises <= 0).all(1)
    assert (rising ^ falling).all()
    assert 0.35 < rising.double().mean() < 0.65
    width = found[upright].amax((1, 2)) - found[upright].amin((1, 2))
    assert width.min() < 11  # a crop of 30 % at the widest ratio spans 7 to 10 of 15
    assert width.max() > 13


def test_cutmix_and_mixup_move_targets_in_proportion(recipe_module):
    warp = recipe_module("warp")
    images = torch.stack([torch.full((3, 8, 8), float(k)) for k in (0, 1)])
    target = torch.eye(2)
    for mixup, cutmix in ((1.0, 0.0), (0.0, 1.0)):
        shares = SimpleNamespace(mixup=mixup, cutmix=cutmix)
        for seed in range(20):
            draw = torch.Generator().manual_seed(seed)
            batch, found = warp.mixed(images, target, shares, draw)
            # The value of a picture is the share of class 1 in it.
            torch.testing.assert_close(batch.mean((1, 2, 3)), found[:, 1], atol=1e-6, rtol=0)


@pytest.fixture(scope="session")
def transfer(recipe_module):
    return recipe_module("transfer_micro")


def test_transfer_writes_rows_and_the_table_of_them(transfer, cache, tmp_path, capsys):
    options = {"tasks": ("digits",), "methods": ("SSF",), "size": 8, "cache": cache}
    transfer.transfer(out=tmp_path, trials=1, seeds=2, epochs=2, shots=4, **options)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == 2 * 2
    assert {row["start"] for row in rows} == {"random", "micro"}
    assert {row["seed"] for row in rows} == {1, 2}  # the trials had 0
    table = (tmp_path / "table.md").read_text()
    assert table == transfer.table(rows)
    assert table in capsys.readouterr().out
    assert re.search(r"\| digits \| micro \| \d+\.\d ± \d+\.\d \|", table)


def test_transfer_says_what_is_missing(transfer, tmp_path, capsys):
    with pytest.raises(InputError, match="no task could be run"):
        transfer.transfer(out=tmp_path, tasks=("flowers12",))
    assert "flowers12 is left out: it needs flowers12-224.zip" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown task 'digit'"):
        transfer.transfer(out=tmp_path, tasks=("digit",))
