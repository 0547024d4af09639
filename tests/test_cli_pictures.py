"""Pictures of any depth through the verbs, as a user runs them: fit, predict, eval, merge."""

import io

import numpy as np
import pytest
from PIL import Image

from data.conftest import encoded
from test_cli import foldtune, refused, told

FAST = ("--size", 32, "--epochs", 1, "--method", "LinearProbe")


def wide(label, seed, top=800):
    """A grey picture in 16 bits that uses `top` of them; the label is the stripes' direction."""
    rng = np.random.default_rng(seed)
    along = np.arange(32)[:, None] if label else np.arange(32)[None]
    values = np.sin(along * 0.8 + rng.uniform(0, 6)) * 0.4 + 0.5 + rng.normal(0, 0.02, (32, 32))
    file = io.BytesIO()
    Image.fromarray((values.clip(0, 1) * top).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    for n in range(24):
        path = root / "set" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wide(n % 2, n))
    return root / "set"


@pytest.fixture(scope="module")
def fitted(scans):
    out, cache = scans.parent / "out", scans.parent / "cache"
    (scans / "a" / "broken.png").write_bytes(b"no image")
    row = told("fit", scans, *FAST, "--skip-broken", "--out", out, cache=cache)
    return row, out / "tuning.safetensors", cache


def test_scans_of_a_part_of_16_bits_are_told_apart(fitted):
    row, _, _ = fitted
    assert row["test"] == 1.0
    assert row["ledger"]["range"]["highest"] <= 800
    assert list(row["ledger"]["unreadable"]) == ["a/broken.png"]


def test_predict_and_eval_read_by_the_range_of_the_tuning(fitted, scans, tmp_path):
    _, tuning, cache = fitted
    for n in range(4):
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / f"{n}.png").write_bytes(wide(n % 2, 100 + n, 400))  # darker
    found = told("predict", tuning, tmp_path / "new")
    assert [one["class"] for one in found] == ["a", "b", "a", "b"]
    # Alone, the darker pictures would be stretched by their own range.
    for n in range(4):
        (tmp_path / "other" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / "ab"[n % 2] / f"{n}.png").write_bytes(wide(n % 2, 100 + n, 400))
    judged = told("eval", tuning, tmp_path / "other", cache=cache)
    assert judged["top1"] == 1.0
    done = foldtune("eval", tuning, tmp_path / "other", cache=cache)
    assert "read as 0..4" not in done.stderr


def test_merge_knows_what_was_left_out(fitted, tmp_path):
    _, tuning, cache = fitted
    merged = told("merge", tuning, "--out", tmp_path / "m.safetensors", cache=cache)
    assert merged["changed"] == 0


def test_ranges_are_given_and_refused_on_the_command_line(scans, tmp_path):
    cache = tmp_path / "cache"
    (scans / "a" / "broken.png").unlink(missing_ok=True)
    ways = {
        way: told("data", "card", scans, "--range", *way, cache=cache)
        for way in (("own",), ("percentile",), ("header",), ("0", "800"))
    }
    assert len({card["identity"] for card in ways.values()}) == 4
    assert "LOW HIGH" in refused("data", "card", scans, "--range", "low", cache=cache)
    assert "does not rise" in refused("data", "card", scans, "--range", 5, 1, cache=cache)


def test_a_budget_of_pixels_is_lowered_and_raised(tmp_path):
    for n in range(8):
        path = tmp_path / "set" / "ab"[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(n))
    few = refused("data", "card", tmp_path / "set", "--max-pixels", 100, cache=tmp_path / "c")
    assert "192 pixels are more than 100; scale it down, or allow it (--max-pixels 192)" in few
    card = told("data", "card", tmp_path / "set", "--max-pixels", 192, cache=tmp_path / "c")
    assert card["images"] == 8


def test_lite0_learns_scans_too(scans, tmp_path):
    row = told(
        "fit", scans, "--model", "lite0", "--size", 64, "--method", "LinearProbe",
        "--skip-broken", "--out", tmp_path, cache=tmp_path / "cache",
    )  # fmt: skip
    assert row["test"] == 1.0


def test_predict_of_a_folder_without_pictures_is_refused(fitted, tmp_path):
    (tmp_path / "a.txt").write_text("x")
    assert "found: 1 .txt" in refused("predict", fitted[1], tmp_path)
