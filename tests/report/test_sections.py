"""Each section says what rows and logits say, and is left out where they say nothing."""

import base64
import csv
import io
import json
from dataclasses import replace

import altair as alt
import fake
import judged
import numpy as np
import pytest
import torch
from PIL import Image

from foldtune.analysis.agreement import agreement
from foldtune.analysis.ensemble import RULES
from foldtune.analysis.judgement.doubts import doubtful
from foldtune.errors import InputError
from foldtune.judging.calibration import calibration
from foldtune.report.material import Material
from foldtune.report.paper import write_charts
from foldtune.report.sections import ORDER, gallery, ledger, sections
from foldtune.study.results.pictures import find_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = judged.write_judged(tmp_path_factory.mktemp("judged"))
    judged.write_away(made)
    return made


@pytest.fixture(scope="module")
def study(folder):
    read = Material.read(folder)
    return replace(read, asked={**read.asked, "ledger": {"empty": ["zebra"]}})


@pytest.fixture(scope="module")
def found(study):
    return {section.key: section for section in sections(study)}


def _values(section, place=0):
    return section.figures[place].specification["data"]["values"]


def test_a_study_with_everything_has_every_section(found):
    assert len(found) == len(ORDER) - 1  # numbers are of another task


def test_sections_without_data_are_left_out(tmp_path):
    bare = sections(Material.read(fake.write_study(tmp_path)))
    keys = {section.key for section in bare}
    assert keys == {"leaderboard", "accuracy", "tuning", "training", "costs", "runs"}


def test_every_chart_follows_vega_lites_schema(found):
    # `Figure.specification` does not check it, since a page of many methods would wait for it.
    for figure in (figure for section in found.values() for figure in section.figures):
        alt.LayerChart.from_dict(figure.specification, validate=True)


def test_every_chart_has_a_text_alternative_a_name_of_its_own_and_data(found):
    figures = [figure for section in found.values() for figure in section.figures]
    assert len({figure.name for figure in figures}) == len(figures) > 9
    for figure in figures:
        assert len(figure.alternative) > 30
        assert figure.rows
        assert any(cell is not None for cell in figure.rows[0])
    assert all(s.tables for s in found.values() if s.key in ("agreement", "ensembles", "wise"))


def test_the_diagonal_of_the_map_is_the_seed_control(study, found):
    rows = {(r["a"], r["b"]): r for r in agreement(study.panel, study.counts)}
    for cell in _values(found["agreement"]):
        row = rows.get((cell["a"], cell["b"])) or rows[cell["b"], cell["a"]]
        assert cell["value"] == row["agreement"]["value"]
        assert cell["own"] == (cell["a"] == cell["b"])
    assert len(_values(found["agreement"])) == len(study.panel.names) ** 2


def test_without_seeds_the_missing_control_is_said(tmp_path):
    folder = judged.write_judged(tmp_path, judged.METHODS[:2], seeds=1)
    told = {s.key: s for s in sections(Material.read(folder))}
    assert any("no control" in line for line in told["agreement"].words)
    assert len(told["agreement"].figures) == 1


def test_gains_are_drawn_beside_those_of_seeds(found):
    values = _values(found["ensembles"])
    assert {v["rule"] for v in values if v["kind"] == "different methods"} == set(RULES)
    seeds = [v for v in values if v["kind"] == "seeds of one method"]
    assert len(seeds) == len(judged.METHODS)
    assert all(v["low"] <= v["gain"] <= v["high"] for v in values)


def test_the_calibration_error_is_that_of_the_bench(study, found):
    table = {row[0]: row for row in found["calibration"].tables[0].rows}
    for name, group in study.panel.runs.items():
        labels = torch.from_numpy(study.panel.labels)
        each = [dict(calibration(torch.from_numpy(m.logits), labels)) for m in group]
        assert float(table[name][3]) == pytest.approx(
            100 * np.mean([e["ece"] for e in each]),
            abs=0.06,  # one decimal is shown
        )
        assert float(table[name][6]) == pytest.approx(np.mean([e["aurc"] for e in each]), abs=6e-4)


def test_the_risk_curve_ends_at_the_error(study, found):
    for name in study.panel.names:
        curve = [v for v in _values(found["calibration"], 1) if v["label"] == name]
        assert curve[-1]["risk"] == pytest.approx(1 - study.panel.right[name].mean())


def test_wise_and_shift_are_told_from_their_files(found):
    assert [v["alpha"] for v in _values(found["wise"])] == [0.0, 0.5, 1.0]
    assert "SSF: alpha 0.5" in found["wise"].words[1]
    assert "30.0 points: SSF on sketch" in found["shift"].summary


def test_files_may_be_named_too(tmp_path, folder):
    bare = judged.write_judged(tmp_path / "bare", judged.METHODS[:2], seeds=1)
    files = tuple((folder / "shift").iterdir())
    keys = {s.key for s in sections(Material.read(bare, shifts=files))}
    assert "shift" in keys
    assert "wise" not in keys


@pytest.mark.parametrize("text", ["", "[1]", '{"rows": 3}', "{}"])
def test_a_file_of_something_else_is_refused(folder, tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json .*foldtune wise"):
        Material.read(folder, wise=(tmp_path / "x.json",)).results("wise")


def test_an_unfinished_file_in_the_study_is_left_out(tmp_path, capsys):
    # `wise --json > STUDY/wise/x.json` is empty until it ends, and the page was refused until then.
    bare = judged.write_judged(tmp_path / "bare", judged.METHODS[:1], seeds=1)
    (bare / "wise").mkdir(exist_ok=True)
    (bare / "wise" / "x.json").write_text("")
    assert "x" not in dict(Material.read(bare).results("wise"))
    assert "left out of the page" in capsys.readouterr().err


def test_the_gallery_shows_the_images_of_the_logits(study, found, folder):
    shown = found["wrong"].context["shown"]
    pixels = find_pictures(folder, study.asked, study.rows[0]["data_identity"]).pixels
    first = {name: group[0].predictions for name, group in study.panel.runs.items()}
    assert shown["items"]
    for item in shown["items"]:
        row = int(item["n"].removeprefix("img ").removesuffix(".png"))
        assert item["c"] == study.panel.labels[row]
        assert item["p"] == [int(first[name][row]) for name in shown["methods"]]
        missed = item["p"][shown["chosen"]] != item["c"]
        assert missed or len(set(item["p"])) > 1
        picture = Image.open(io.BytesIO(base64.b64decode(item["t"].partition(",")[2])))
        assert picture.size == (judged.SIDE, judged.SIDE)
        assert abs(np.asarray(picture).mean() - pixels[row].mean()) < 12  # JPEG of noise


def test_the_gallery_begins_with_what_the_winner_is_surest_of_and_gets_wrong(study, found):
    section = found["wrong"]
    shown, winner = section.context["shown"], study.best["label"]
    assert shown["methods"][shown["chosen"]] == winner
    member = study.panel.runs[winner][0]
    wrong = np.flatnonzero(member.predictions != study.panel.labels)
    assert section.title == f"What {winner} gets wrong"
    assert f"{winner} gets {len(wrong):,} of" in section.summary
    first = shown["items"][: min(len(wrong), gallery.MOST // 2)]
    assert all(item["p"][shown["chosen"]] != item["c"] for item in first)
    assert [item["s"] for item in first] == sorted((i["s"] for i in first), reverse=True)
    assert first[0]["s"] == round(100 * float(member.confidence[wrong].max()))


def test_images_that_every_method_gets_wrong_are_in_the_page():
    # They never were: only disagreements were shown.
    labels = np.array([0, 1, 2, 0])
    predictions = np.array([[1, 1, 0, 0], [1, 1, 0, 0]])
    kept = gallery._select_images(predictions, labels, 0, np.array([0.6, 0.9, 0.8, 0.5]))
    assert kept.tolist() == [2, 0]


def test_the_gallery_says_where_images_are_missing(tmp_path):
    folder = judged.write_judged(tmp_path / "a", pictures=False)
    told = gallery.section(Material.read(folder, cache=tmp_path / "nowhere"))
    assert "were not found" in told.words[0]
    assert not any("t" in item for item in told.context["shown"]["items"])
    assert told.context["shown"]["classes"][0] == "species 0"
    there = gallery.section(Material.read(folder, cache=folder / "cache"))
    assert all("t" in item for item in there.context["shown"]["items"])


def test_doubtful_labels_are_marked_with_what_they_seem_to_be(study, found):
    shown = found["wrong"].context["shown"]
    group = study.panel.runs[study.best["label"]]
    rows, seems = doubtful(np.mean([m.probabilities for m in group], axis=0), study.panel.labels)
    wanted = dict(zip(rows.tolist(), seems.tolist(), strict=True))
    marked = {int(item["n"][4:-4]): item["d"] for item in shown["items"] if "d" in item}
    assert marked
    assert shown["doubtful"]
    held = {int(item["n"][4:-4]) for item in shown["items"]}
    assert marked == {row: seem for row, seem in wanted.items() if row in held}
    assert f"{len(marked)} of these labels are doubtful" in found["wrong"].words[0]


def test_thumbnails_stop_at_their_bytes(study, monkeypatch):
    monkeypatch.setattr(gallery, "_BYTES", 3000)
    items = gallery.section(study).context["shown"]["items"]
    assert 0 < sum("t" in item for item in items) < len(items)


def test_every_filter_of_a_full_gallery_finds_an_image():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 3000)
    shared = rng.integers(0, 10, 3000)
    predictions = np.stack([np.where(rng.random(3000) < 0.8, labels, shared) for _ in range(6)])
    predictions[5] = predictions[4]  # a pair that hardly ever disagrees
    predictions[5, 17] = (predictions[4, 17] + 1) % 10
    kept = gallery.spread_out(predictions, labels, 60)
    assert len(set(kept.tolist())) == 60
    assert set(labels[kept]) == set(range(10))
    for i in range(6):
        for j in range(i):
            assert (predictions[i, kept] != predictions[j, kept]).any()


def test_all_disagreements_are_kept_where_there_is_room():
    predictions = np.array([[0, 1, 2, 0], [0, 2, 2, 1]])
    assert gallery.spread_out(predictions, np.zeros(4, int), 9).tolist() == [1, 3]


def test_costs_know_the_size_of_a_tuning(folder, study, found):
    assert found["costs"].tables[0].rows[0][5] == "–"
    run = next(r["run"] for r in study.rows if r["stage"] == "final" and r["label"] == "SSF")
    (folder / "runs" / run / "tuning.safetensors").write_bytes(b"x" * 2048)
    again = {s.key: s for s in sections(Material.read(folder))}
    assert {row[0]: row[5] for row in again["costs"].tables[0].rows}["SSF"] == "2 KiB"


def test_charts_become_files_for_a_paper(found, tmp_path):
    files = write_charts([found["agreement"], found["ensembles"]], tmp_path)
    assert {path.suffix for path in files} == {".svg", ".png", ".pdf", ".csv"}
    assert len(files) == 4 * 3
    assert (tmp_path / "ensembles.pdf").read_bytes().startswith(b"%PDF")
    assert Image.open(tmp_path / "agreement.png").size[0] > 1000
    svg = (tmp_path / "ensembles.svg").read_text()
    assert 'fill="white"' in svg
    rows = list(csv.DictReader((tmp_path / "ensembles.csv").open(newline="")))
    assert [float(r["gain"]) for r in rows] == [v["gain"] for v in _values(found["ensembles"])]


def test_a_study_with_damaged_logits_is_still_told(tmp_path):
    folder = judged.write_judged(tmp_path, judged.METHODS[:2], seeds=1)
    next((folder / "runs").glob("*/logits.safetensors")).write_bytes(b"{}")
    study = Material.read(folder)
    assert "damaged" in study.missing
    assert "agreement" not in {s.key for s in sections(study)}


def test_everything_shown_is_ready_for_json(found):
    assert json.dumps([section.context for section in found.values()], default=str)


def test_what_was_not_taken_of_the_data_is_a_section(study, folder):
    told = {
        "not_read": {".nef": {"oak": 2, "elm": 1}}, "empty": ["zebra"],
        "unreadable": {"oak/9.png": "truncated"}, "missing": {"a.png": "no such file"},
        "range": {"images": 7, "lowest": 3.0, "highest": 800.0, "read_as": [3.0, 800.0]},
    }  # fmt: skip
    asked = dict(study.asked) | {"ledger": told}
    section = ledger.section(Material(folder, study.rows, asked))
    rows = section.tables[0].rows
    assert ("2 .nef files", "class oak", "not read: develop them to TIFF or PNG") in rows
    assert ("an empty folder", "class zebra", "nothing in it") in rows
    assert ("a file", "oak/9.png", "cannot be read: truncated") in rows
    assert ("a file", "a.png", "no such file") in rows
    assert len(rows) == 5
    assert "they are read by 3 to 800." in section.words[0]
    assert "7 images have more than 8 bits, with values from 3.0 to 800.0" in section.words[0]


@pytest.mark.parametrize(
    "told", [None, {}, [], "x", {"not_read": 3}, {"range": []}, {"empty": None, "missing": 4},
             {"not_read": {".nef": 1}}, {"range": {"images": "x", "read_as": "y"}}],
)  # fmt: skip
def test_a_ledger_of_nothing_or_of_a_stranger_breaks_no_page(told, study, folder):
    section = ledger.section(Material(folder, study.rows, dict(study.asked) | {"ledger": told}))
    assert section is None or (told or {}).get("range")
