"""A listing is told from lists and headers; a card from pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from data.conftest import encoded, picture
from foldtune.data import load_data, read_source
from foldtune.data.sources.spec import parse_spec
from foldtune.data.tools.card import channel_statistics, data_card, draw_examples
from foldtune.data.tools.check import check, describe, header, manifest_hash


@pytest.mark.parametrize(
    ("form", "options", "lossless"),
    [
        ("PNG", {}, True),
        ("JPEG", {}, False),
        ("WEBP", {"lossless": True}, True),
        ("WEBP", {"quality": 80}, False),
        ("TIFF", {}, True),
        ("TIFF", {"compression": "jpeg"}, False),
    ],
)
def test_lossy_and_lossless_files_are_told_apart(form, options, lossless):
    file = io.BytesIO()
    picture(1).save(file, form, **options)
    size, _, told = header(file.getvalue())
    assert (size, told) == ((16, 12), lossless)
    assert header(b"no image") is None


def test_a_listing_is_described_without_decoding(make_folder):
    folder = make_folder({"train/cat": 3, "train/dog": 2, "test/dog": 1})
    (folder / "train/cat/000.png").write_bytes(encoded(0)[:60])  # the header is whole
    told = describe(read_source(folder))
    assert told["counts"] == {"train": 5, "test": 1}
    assert told["labels"] == [0, 1]
    assert told["sizes"] == "16x12"
    assert told["formats"] == {"PNG": 6}
    assert told["lossless"] is True


def test_the_manifest_tells_lists_apart_and_not_places(make_folder, make_zip):
    folder = make_folder({"train/cat": 3, "test/cat": 1, "train/dog": 1})
    one, zipped = (manifest_hash(read_source(s)) for s in (folder, make_zip(folder)))
    (folder / "train/cat/002.png").rename(folder / "test/cat/002.png")
    assert one == zipped != manifest_hash(read_source(folder))


def test_a_part_that_is_absent_is_told_beside_the_others(make_folder):
    folder = make_folder({"photo/a": 2, "photo/b": 2, "ink/a": 2})
    rows = check(parse_spec(f"domains@{folder}"))
    assert [row["part"] for row in rows] == ["ink", "photo"]
    vtab = check(parse_spec(f"vtab@{folder}"))
    assert len(vtab) == 19
    assert all("has no folder" in row["problem"] for row in vtab)
    assert [row["group"] for row in vtab] == ["natural"] * 7 + ["specialised"] * 4 + [
        "structured"
    ] * 8


def test_channel_statistics_are_numpys(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3), dtype=np.uint8)
    mean, std = channel_statistics(pixels, np.arange(1, 300))
    assert np.allclose(mean, (pixels[1:] / 255).mean((0, 1, 2)), atol=1e-12)
    assert np.allclose(std, (pixels[1:] / 255).std((0, 1, 2)), atol=1e-9)


def test_a_card_counts_balances_and_draws(make_folder, tmp_path):
    folder = make_folder({"train/a": 6, "train/b": 4, "val/b": 1, "test/a": 2, "test/b": 2})
    data = load_data(folder, size=16, cache=tmp_path / "cache")
    card = data_card(data)
    assert card["balance"]["train"] == {"fewest": 4, "most": 6}
    assert card["balance"]["val"] == {"fewest": 0, "most": 1, "empty": ["a"], "empty_classes": 1}
    assert card["near_duplicates"]["test"] == {"images": 0, "such_as": []}
    draw_examples(data, tmp_path / "out" / "examples.png", each=3)
    with Image.open(tmp_path / "out" / "examples.png") as sheet:
        assert sheet.size == (2 + 3 * 18, 2 + 2 * 18)


def test_a_broken_member_of_a_zip_is_told(make_folder, make_zip):
    path = make_zip(make_folder({"a": 4, "b": 4}))
    data = bytearray(path.read_bytes())
    at = data.find(encoded(1)) + 40  # inside of the second picture, which is stored as it is
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    told = describe(read_source(path))
    assert list(told["ledger"]["unreadable"]) == ["a/001.png"]
    assert any("1 of 8 files that were looked at cannot be read" in w for w in told["warnings"])
