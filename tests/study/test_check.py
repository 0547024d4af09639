"""Files are bound to rows: one that was altered is found, never read, and computed again."""

import contextlib
import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from foldtune.backbones import load_backbone
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.files import digest
from foldtune.report.material import Material
from foldtune.study.check import check
from foldtune.study.compare import compare
from foldtune.study.ensembles import save_ensemble
from foldtune.study.results import tasks
from foldtune.study.results.analyses import analyse
from foldtune.study.results.artefacts import LOGITS, TUNING, VALIDATION, Altered
from foldtune.study.results.rowfile import line_of
from foldtune.study.results.store import Store
from foldtune.training.recipe import Recipe
from foldtune.tunings.ensemble import ENSEMBLE, open_ensemble

METHODS = ("LinearProbe", "BitFit")
FLIPS = 40


def compared(digits, folder, say=None):
    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
    return compare(
        digits, load_backbone("micro", size=16), METHODS, out=folder, trials=1, seeds=2,
        recipe=recipe, say=say,
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    compared(digits, folder)
    return folder


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "study")


def flip(path, draw):
    data = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def final(folder, label="BitFit"):
    return next(r for r in Store(folder).rows() if (r["stage"], r["label"]) == ("final", label))


def negated(path):
    with torch.no_grad():
        tensors = {n: -t if t.is_floating_point() else t for n, t in load_file(path).items()}
    save_file(tensors, path, metadata(path))


def metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_finished_study_is_sound_and_every_file_of_it_is_looked_at(study):
    found = check(study)
    assert found.sound
    assert found.count("unbound") == 0
    looked = {one.file for one in found.files}
    written = {str(p.relative_to(study)) for p in study.rglob("*") if p.is_file()}
    # Two locks, which are empty.
    assert written - looked == {"lock", "optuna.journal.flock"}


@pytest.mark.filterwarnings("ignore:.*damaged after writing")
def test_every_flipped_bit_is_found(copy):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # shown where this fails
    draw = random.Random(seed)
    files = sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size)
    for number in range(FLIPS):
        path = files[number % len(files)]
        sound = path.read_bytes()
        flip(path, draw)
        assert not check(copy).sound, (seed, path)
        path.write_bytes(sound)
    assert check(copy).sound


@pytest.mark.filterwarnings("ignore:.*damaged after writing")
def test_no_flipped_bit_changes_a_figure(copy):
    seed = random.SystemRandom().randrange(10**6)
    draw, wanted = random.Random(seed), figures(copy)
    files = sorted(p for p in copy.rglob("*.json*")) + sorted(copy.glob("runs/*/l*.safetensors"))
    for number in range(2 * len(files)):
        path = files[number % len(files)]
        sound = path.read_bytes()
        flip(path, draw)
        with contextlib.suppress(InputError):
            assert figures(copy) == wanted, (seed, path)
        path.write_bytes(sound)


def figures(folder):
    board = Material.read(folder).board
    return json.dumps(
        [board, tasks.accuracies_by_label(folder), analyse(folder, draws=5)["ensembles"]]
    )


@pytest.mark.parametrize("name", [LOGITS, TUNING])
def test_another_file_in_place_of_a_runs_is_refused_by_all_that_reads_it(name, copy, tmp_path):
    path = copy / "runs" / final(copy)["run"] / name
    negated(path)
    with pytest.raises(Altered, match=f"{name} is not the file that was stored"):
        save_ensemble(copy, tmp_path / "ensemble")
    assert not (tmp_path / "ensemble").exists()
    if name == LOGITS:
        for read in (analyse, lambda folder: Material.read(folder).board):
            with pytest.raises(Altered, match=f"{name} is not the file that was stored"):
                read(copy)


def test_comparing_again_sets_aside_what_was_altered_and_computes_it_again(copy, study, digits):
    row, said = final(copy), []
    folder = copy / "runs" / row["run"]
    negated(folder / LOGITS)
    (folder / TUNING).unlink()
    found = compared(digits, copy, said.append)
    assert (folder / f"{LOGITS}.altered").exists()
    assert any(line.startswith(f"{folder / LOGITS} is not the file that was") for line in said)
    assert sum(line.endswith("(kept)") for line in said) == len(found.rows)  # but after one again
    assert check(copy).sound
    assert (folder / LOGITS).read_bytes() == (study / "runs" / row["run"] / LOGITS).read_bytes()


def test_repair_moves_what_was_altered_aside_with_the_rows_that_rest_on_it(copy, digits):
    row = final(copy)
    negated(copy / "runs" / row["run"] / LOGITS)
    negated(copy / "merged.safetensors")
    assert not check(copy, repair=True).sound
    assert row["run"] not in Store(copy)
    assert not (copy / "merged.safetensors").exists()
    compared(digits, copy)
    assert check(copy).sound
    assert row["run"] in Store(copy)


def test_a_damaged_description_is_refused_by_readers_and_written_again_by_compare(copy, digits):
    (copy / "study.json").write_bytes((copy / "study.json").read_bytes().replace(b"1", b"2", 1))
    for read in (analyse, Material.read, tasks.accuracies_by_label):
        with pytest.raises(Altered, match="is not as it was written"):
            read(copy)
    with pytest.warns(RuntimeWarning, match=r"set aside as study\.json\.altered"):
        compared(digits, copy)
    assert check(copy).sound


def test_rows_that_were_lost_from_the_end_are_missed(copy):
    rows = copy / "rows.jsonl"
    rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:-1]))
    assert not check(copy).sound
    for read in (analyse, tasks.accuracies_by_label, Material.read):
        with pytest.raises(Altered, match="has lost rows"):
            read(copy)


def test_a_file_that_its_row_does_not_name_is_anothers_and_computed_again(copy, digits):
    rows = Store(copy).rows()
    row = next(row for row in rows if row["stage"] == "final")
    del row["files"][LOGITS]
    body = (json.dumps(row).encode() for row in rows)
    (copy / "rows.jsonl").write_bytes(b"".join(map(line_of, body)))
    assert f"runs/{row['run']}/{LOGITS}" in [
        found.file for found in check(copy).files if found.state == "altered"
    ]
    compared(digits, copy)
    assert check(copy).sound
    assert LOGITS in next(r for r in Store(copy).rows() if r["run"] == row["run"])["files"]


def test_a_strangers_rows_stop_a_comparison_before_it_goes_on(copy, digits):
    rows = Store(copy).rows()
    rows[0]["recipe"]["lr"] = "fast"
    body = (json.dumps(row).encode() for row in rows)
    (copy / "rows.jsonl").write_bytes(b"".join(map(line_of, body)))
    with pytest.raises(InputError, match=r"rows\.jsonl, run .*lr must be a finite number"):
        compared(digits, copy)


def test_rows_of_an_earlier_foldtune_are_read_and_said_to_be_unbound(copy, digits):
    wanted = analyse(copy, draws=5)
    rows = [{k: v for k, v in row.items() if k != "files"} for row in Store(copy).rows()]
    lines = [line_of(json.dumps(row, separators=(",", ":")).encode()) for row in rows]
    (copy / "rows.jsonl").write_bytes(b"".join(lines))
    told = json.loads((copy / "study.json").read_text())
    old = {k: v for k, v in told.items() if k not in ("format", "sealed", "checksum")}
    (copy / "study.json").write_text(json.dumps(old))
    found = check(copy)
    assert found.sound
    assert found.count("unbound") > 4
    again = analyse(copy, draws=5)
    assert again["ensembles"] == wanted["ensembles"]
    assert any("cannot be verified" in note for note in again["notes"])
    with pytest.warns(RuntimeWarning, match="cannot be verified"):
        save_ensemble(copy, copy / "e")
    said = []
    compared(digits, copy, said.append)
    assert any("cannot be verified" in line for line in said)


def test_validation_that_was_deleted_is_only_missed(copy):
    for path in copy.glob(f"runs/*/{VALIDATION}"):
        path.unlink()
    assert "greedy" not in {e["ensemble"] for e in analyse(copy, draws=5)["ensembles"]}
    assert check(copy).count("missing") == len(METHODS)


def test_a_flipped_bit_of_a_tuning_or_an_ensemble_is_found(study, tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    saved = tmp_path / "ensemble"
    save_ensemble(study, saved)
    alone = shutil.copy(study / "runs" / final(study)["run"] / TUNING, tmp_path / "t.safetensors")
    for path, whole in ((tmp_path / "t.safetensors", alone), (saved / ENSEMBLE, saved)):
        assert check(whole).sound
        sound = path.read_bytes()
        for _ in range(20):
            flip(path, draw)
            with pytest.raises(InputError):
                check(whole)
            path.write_bytes(sound)


def test_an_ensemble_without_checksum_is_read_and_said_to_be_unbound(study, tmp_path):
    save_ensemble(study, tmp_path / "e")
    told = json.loads((tmp_path / "e" / ENSEMBLE).read_text())
    del told["checksum"]
    (tmp_path / "e" / ENSEMBLE).write_text(json.dumps({**told, "format": 1}))
    assert not open_ensemble(tmp_path / "e").sealed
    assert check(tmp_path / "e").count("unbound") == 1


def test_a_lone_file_is_not_repaired(study):
    with pytest.raises(InputError, match="nothing here can be computed again"):
        check(study / "runs" / final(study)["run"] / TUNING, repair=True)


def test_save_is_what_check_reads(backbone, tmp_path):
    from foldtune.core.attach import attach
    from foldtune.methods import BitFit

    assert check(save(attach(backbone, BitFit()), tmp_path / "t.safetensors")).sound


def test_a_strangers_study_names_no_file_outside_its_folder(copy):
    mine = copy.parent / "mine"
    mine.write_text("mine")
    rows = [{**row, "files": {"../../../mine": "0" * 64}} for row in Store(copy).rows()]
    lines = [line_of(json.dumps(row, separators=(",", ":")).encode()) for row in rows]
    (copy / "rows.jsonl").write_bytes(b"".join(lines))
    check(copy, repair=True)
    told = json.loads((copy / "study.json").read_text())
    told.pop("checksum")
    told["sealed"]["files"]["../mine"] = "0" * 64
    checksum = digest([json.dumps(told, sort_keys=True)])
    (copy / "study.json").write_text(json.dumps({**told, "checksum": checksum}))
    with pytest.raises(InputError, match="must be names of files in the folder"):
        check(copy, repair=True)
    (copy / "study.json").unlink()
    row = json.dumps({**rows[0], "run": "..", "files": {TUNING: "0" * 64}}, separators=(",", ":"))
    (copy / "rows.jsonl").write_bytes(line_of(row.encode()))
    with pytest.raises(InputError, match="run must be letters and digits"):
        check(copy, repair=True)
    assert mine.read_text() == "mine"
