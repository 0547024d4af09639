"""The command line, verb by verb, as a user runs it; bad input is one line and exit code 2."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from foldtune.__main__ import HELP, main
from foldtune.console import say
from foldtune.core.tuningfile import read


class Done:
    """What a call of the command line left: exit code and streams."""

    def __init__(self, returncode, stdout, stderr):
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def foldtune(*words, cache=None):
    """Call the verbs in this process, as the installed script does; importing costs seconds."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    more = () if cache is None else ("--cache", str(cache))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["foldtune", *map(str, words), *more])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
    return Done(code, out.getvalue(), err.getvalue())


def told(*words, cache=None):
    done = foldtune(*words, "--json", cache=cache)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(*words, cache=None):
    """The one line of a refusal; what was told of the data and the study may stand before it."""
    done = foldtune(*words, cache=cache)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.endswith(f"{line}\n")
    return line


def in_a_process(code):
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes that are easy to tell apart, 12 images each."""
    folder = tmp_path_factory.mktemp("photos")
    generator = torch.Generator().manual_seed(0)
    for name, colour in (("blue", (40, 60, 200)), ("red", (200, 50, 40))):
        (folder / name).mkdir()
        for i in range(12):
            shade = [c + int(torch.randint(-30, 30, (), generator=generator)) for c in colour]
            Image.new("RGB", (20, 16), tuple(shade)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def tuned(photos, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    row = told(
        "fit", photos, "--size", 16, "--epochs", 2, "--method", "LoRA(rank=2)", "--out", out,
        cache=cache,
    )  # fmt: skip
    return Path(row["tuning"])


def test_help_is_what_the_verbs_say():
    code = "import sys; sys.argv = ['foldtune', '--help']; from foldtune.cli import main; main()"
    wanted = in_a_process(code).stdout
    assert HELP.read_text() == wanted, "verbs have changed: COLUMNS=80, write help.txt again"


def test_help_imports_nothing_heavy():
    done = in_a_process(
        "import sys, runpy; sys.argv = ['foldtune', '--help']\n"
        "runpy.run_module('foldtune', run_name='__main__')\n"
        "assert not {'torch', 'cyclopts', 'rich', 'numpy'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == HELP.read_text()


def test_importing_the_package_and_the_verbs_imports_no_torch():
    done = in_a_process("import sys, foldtune, foldtune.cli; assert 'torch' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_bad_input_ends_a_real_process_with_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "foldtune", "inspect", "micro", "--method", "Lora"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown method 'Lora'; choose from: LoRA")
    assert done.stderr.count("\n") == 1


def test_a_line_of_progress_is_one_write(monkeypatch):
    # Ctrl-C between two writes would put the next line behind the first.
    writes = []
    stream = SimpleNamespace(write=writes.append, flush=lambda: None)
    monkeypatch.setattr(sys, "stderr", stream)
    say("BitFit: validation 37.5%")
    assert writes == ["BitFit: validation 37.5%\n"]


def collections_of(*words):
    """How often the collector walks all there is while a process answers these words."""
    code = (
        "import atexit, gc, sys; from foldtune.cli import main\n"
        "whole = lambda: gc.get_stats()[2]['collections']\n"
        f"sys.argv, before = ['foldtune', *{words}], whole()\n"
        "told = lambda: print(whole() - before, gc.isenabled(), gc.get_freeze_count() > 0)\n"
        "atexit.register(told); main()"
    )
    done = in_a_process(code)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("words", [("inspect", "micro"), ("sites", "micro"), ("methods",)])
def test_what_only_looks_spends_nothing_on_collecting_garbage(words):
    # It enables the collector again, and what lives at the end is not walked either.
    assert collections_of(*words) == ["0", "True", "True"]


def test_inspect_counts_what_trains():
    found = told("inspect", "micro", "--method", "SSF()", "--classes", "7")
    assert found["trainable"] == 2 * (11 * 128 * 8 + 2 * 128)
    assert found["head"] == 129 * 7
    assert found["total"] > found["trainable"] + found["head"]
    assert found["mergeable"] is True
    assert found["edits"] == 6 * 8 + 2


def test_inspect_takes_any_timm_model():
    found = told("inspect", "vit_tiny_patch16_224", "--method", "BitFit", "--no-pretrained")
    assert found["trainable"] == 12 * 11 * 192 + 2 * 192


def test_sites_lists_every_place():
    roles = [site["role"] for site in told("sites", "micro")]
    assert roles.count("block") == roles.count("attn.in") == roles.count("mlp.down") == 8


def test_methods_lists_the_catalogue_with_cards():
    cards = {card["method"]: card for card in told("methods")}
    assert {"SSF", "LoRA", "BitFit", "Full", "LinearProbe", "LayerNorm", "AdaptFormer"} <= set(
        cards
    )
    assert "Lian et al." in cards["SSF"]["card"]


def test_methods_are_suggested_for_a_model_alone():
    assert "--suggest needs --model" in refused("methods", "--suggest")
    assert "--model and --budget are of --suggest" in refused("methods", "--budget", "1%")
    assert "unknown model 'micrp'" in refused("methods", "--suggest", "--model", "micrp")
    words = ("methods", "--suggest", "--model", "micro", "--size", 16, "--budget", "many")
    assert "'many' is no budget" in refused(*words)


def test_fit_learns_two_colours_and_writes_a_tuning(tuned, photos, cache):
    found = told("eval", tuned, photos, "--split", "all", cache=cache)
    assert found["top1"] > 0.9
    assert found["images"] + found["trained_on"] == 24
    assert found["notes"][0] == f"{found['trained_on']} of 24 were trained on: left out"
    words = ("--split", "all", "--include-trained")
    found = told("eval", tuned, photos, *words, cache=cache)
    assert found["top1_including_trained"] > 0.9
    assert found["images"] == 24


def test_fit_says_each_epoch_and_ends_with_the_rate_its_interval_and_the_file(
    photos, cache, tmp_path
):
    # Off a terminal it was silent to the end.
    words = ("fit", photos, "--size", 16, "--epochs", 2, "--method", "BitFit", "--out", tmp_path)
    done = foldtune(*words, cache=cache)
    assert done.returncode == 0, done.stderr
    epochs = [line for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in epochs] == ["epoch 1 of 2", "epoch 2 of 2"]
    lines = done.stdout.splitlines()
    assert re.match(r"BitFit\(\) reaches .* % on \d+ test images \(95 % interval ", lines[0])
    assert str(tmp_path / "tuning.safetensors") in done.stdout
    assert lines[-1].strip().startswith("foldtune merge ")
    assert "{" not in done.stdout


def test_inspect_says_what_would_train_in_words():
    done = foldtune("inspect", "micro", "--method", "SSF()", "--classes", 7)
    assert done.stdout.startswith("SSF() would train ")
    assert "48 computed weights" in done.stdout or "50 computed weights" in done.stdout
    assert "{" not in done.stdout


def test_predict_names_the_class(tuned, photos):
    found = told("predict", tuned, photos / "red/3.png", photos / "blue/3.png")
    assert [line["class"] for line in found] == ["red", "blue"]
    assert 0.5 <= found[0]["probability"] <= 1


def test_merged_weights_load_strictly_into_the_plain_network(tuned, photos, cache, tmp_path):
    from safetensors.torch import load_file

    from foldtune.backbones.micro import build

    found = told("merge", tuned, "--out", tmp_path / "m.safetensors", cache=cache)
    assert found["largest"] < 1e-4
    assert found["images"] > 0
    build(num_classes=2).load_state_dict(load_file(tmp_path / "m.safetensors"))


def test_images_of_two_sides_go_from_fit_to_a_merged_network(photos, cache, tmp_path):
    words = ("--size", "16x24", "--epochs", 2, "--method", "LoRA(rank=2)", "--out", tmp_path)
    tuning = told("fit", photos, *words, cache=cache)["tuning"]
    assert read(tuning)[0]["backbone"]["transform"]["size"] == [16, 24]
    assert told("eval", tuning, photos, "--split", "all", cache=cache)["images"] > 0
    found = told("predict", tuning, photos / "red/3.png", photos / "blue/3.png")
    assert [line["class"] for line in found] == ["red", "blue"]
    assert told("merge", tuning, "--out", tmp_path / "m.safetensors", cache=cache)["largest"] < 1e-4


def test_compare_writes_report_and_merged_model_and_keeps_finished_runs(photos, cache, tmp_path):
    words = ["compare", photos, "--size", 16, "--epochs", 1, "--trials", 1, "--seeds", 1,
             "--out", tmp_path / "study"]  # fmt: skip
    first = foldtune(*words, "--methods", "LinearProbe", "SSF", cache=cache)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "study/report.html").stat().st_size > 100_000
    assert (tmp_path / "study/merged.safetensors").exists()
    lines = first.stdout.splitlines()
    # What to use comes first, then how sure; the winner is marked; commands that follow end it.
    assert lines[0].startswith("Use ")
    assert lines[1].startswith("How sure: ")
    assert sum(line.startswith("➤ ") for line in lines) >= 1
    assert "val_best_epoch" not in first.stdout
    assert lines[-2].startswith(f"Next: foldtune predict {tmp_path / 'study/best.safetensors'}")
    before = (tmp_path / "study/rows.jsonl").read_text()
    second = told(*words, "--methods", "LinearProbe", "SSF", "BitFit", cache=cache)
    assert (tmp_path / "study/rows.jsonl").read_text().startswith(before)
    assert {entry["label"] for entry in second["leaderboard"]} == {"LinearProbe", "SSF", "BitFit"}
    named = told("predict", tmp_path / "study/best.safetensors", photos / "red/3.png")
    assert named[0]["class"] in ("red", "blue")


def test_a_study_of_which_nothing_finishes_still_has_its_page_and_ends_in_1(
    photos, cache, tmp_path
):
    # Logits of such a classifier overflow, and smoothed labels ask for all of them.
    words = ["compare", photos, "--size", 16, "--epochs", 3, "--trials", 1, "--seeds", 1, "--json",
             "--head-lr", 1e38, "--label-smoothing", 0.5, "--methods", "BitFit", "SSF",
             "--out", tmp_path / "study"]  # fmt: skip
    done = foldtune(*words, cache=cache)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["winner"] is None
    assert done.stderr.splitlines()[-1].startswith("no trial of any method finished")
    assert "no method is chosen" in (tmp_path / "study/report.html").read_text()


# -- bad input -----------------------------------------------------------------------------------


def fit_words(data, out, *more):
    return ("fit", data, "--size", 16, "--epochs", 1, "--out", out, *more)


def test_missing_folder(tmp_path, cache):
    assert "nowhere" in refused(*fit_words(tmp_path / "nowhere", tmp_path / "out"), cache=cache)
    assert not (tmp_path / "out").exists()


def test_folder_without_classes(tmp_path, cache):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "data/a.png")
    assert "class" in refused(*fit_words(tmp_path / "data", tmp_path / "out"), cache=cache)


def test_one_class_only(tmp_path, photos, cache):
    shutil.copytree(photos / "red", tmp_path / "data/red")
    assert "class" in refused(*fit_words(tmp_path / "data", tmp_path / "out"), cache=cache)


def test_broken_images_are_listed_and_can_be_skipped(tmp_path, photos, cache):
    shutil.copytree(photos, tmp_path / "data")
    whole = (photos / "red/0.png").read_bytes()
    (tmp_path / "data/red/0.png").write_bytes(whole[:40])
    (tmp_path / "data/blue/7.png").write_text("no image")
    words = fit_words(tmp_path / "data", tmp_path / "out")
    line = refused(*words, cache=cache)
    assert "red/0.png" in line
    assert "blue/7.png" in line
    assert not (tmp_path / "out").exists()
    assert told(*words, "--skip-broken", cache=cache)["test_images"] > 0


def test_unknown_model_lists_the_nearest(tmp_path):
    line = refused("inspect", "vit_bse_patch16_224", "--method", "SSF")
    assert line.index("vit_base_patch16_224") < 80


def test_unknown_method_lists_the_nearest(photos, tmp_path, cache):
    assert "choose from: LoRA" in refused(*fit_words(photos, tmp_path / "o", "--method", "Lora"))


def test_tuning_for_another_backbone_names_the_first_difference(tuned):
    import foldtune as package
    from foldtune.errors import InputError

    other = package.load_backbone("vit_tiny_patch16_224", pretrained=False)
    with pytest.raises(InputError, match="made for micro; the first difference is"):
        package.load(tuned, other)


def test_truncated_tuning(tuned, photos, tmp_path, cache):
    half = tmp_path / "half.safetensors"
    half.write_bytes(tuned.read_bytes()[: tuned.stat().st_size // 2])
    assert "truncated" in refused("eval", half, photos, cache=cache)


def test_zip_with_a_path_that_leaves_it(tmp_path, photos, cache):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in ("red/1.png", "blue/1.png"):
            archive.write(photos / name, name)
        archive.writestr("../evil.png", b"")
    assert "../evil.png" in refused(*fit_words(tmp_path / "bad.zip", tmp_path / "o"), cache=cache)


def test_impossible_setting(photos, tmp_path, cache):
    line = refused(*fit_words(photos, tmp_path / "o", "--lr", "-1"), cache=cache)
    assert "lr" in line


def test_method_that_does_not_merge_says_so(photos, tmp_path, cache):
    words = fit_words(photos, tmp_path, "--method", "AdaptFormer(rank=2)")
    tuning = told(*words, cache=cache)["tuning"]
    line = refused("merge", tuning, "--out", tmp_path / "m.safetensors", cache=cache)
    assert "side network" in line
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("merge", "tuning.safetensors"), "--out"),
        (("fit", "digits", "--out", "o", "--epochs", "many"), "many"),
        (("fit", "digits", "--out", "o", "--epoch", "3"), "--epoch"),
        (("fit", "digits", "--out", "o", "--size", "16y24"), "write 64, or 64x128"),
        (("compair", "digits"), "compair"),
    ],
)
def test_bad_words_are_refused_in_one_line(words, named):
    assert named in refused(*words)


@pytest.fixture
def full_disk(monkeypatch):
    """Every tensor file meets a full disk, as the writing library reports it."""
    from safetensors import SafetensorError

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("foldtune.core.tensorfile.save_file", full)


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_no_space_left_is_one_line_and_leaves_nothing_half_written(
    verb, photos, cache, tmp_path, full_disk
):
    words = [verb, photos, "--size", 16, "--epochs", 1, "--out", tmp_path / "o"]
    if verb == "compare":
        words += ["--methods", "SSF", "--trials", 1, "--seeds", 1]
    assert "no space left" in refused(*words, cache=cache)
    assert not [p for p in (tmp_path / "o").rglob("*") if "safetensors" in p.name]


def test_protocols_are_listed_and_shown_whole():
    listed = told("protocols")
    assert {"ours", "study-a-vtab", "ssf-cifar100"} <= {row["protocol"] for row in listed}
    whole = told("protocols", "study-a-vtab", "--task", "pets")
    assert whole["task"] == "oxford_iiit_pet"
    assert whole["published"][0].keys() >= {"mean_of_tasks", "mean_of_groups"}
    plain = foldtune("protocols", "ssf-vtab")
    assert plain.returncode == 0, plain.stderr
    assert "differs in schedule" in plain.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--protocol", "study-b"), "unknown protocol 'study-b'; choose from: study-a-vtab"),
        (("--protocol", "study-a-vtab"), "give --task"),
        (("--search", "sobl"), "unknown search 'sobl'; choose from: sobol"),
        (("--search", "tpe", "--halving", 2, 2), "halving needs all configurations at once"),
        (("--halving", 3, 3, "--trials", 9, "--epochs", 2), "2 epochs are too few for 3 rungs"),
        (("--ties", "first"), "unknown rule for ties 'first'"),
        (("--storage", "nothing://x"), "nothing://x"),
    ],
)
def test_contradictions_of_compare(words, said, photos, cache, tmp_path):
    study = tmp_path / "study"
    assert said in refused("compare", photos, "--size", 16, "--out", study, *words, cache=cache)
    assert not (study / "rows.jsonl").exists() or not (study / "rows.jsonl").stat().st_size
