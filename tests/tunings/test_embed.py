"""Features are what reaches the classifier; neighbours are a plain loop's; names stay text."""

import numpy as np
import pytest
import torch
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.errors import InputError
from foldtune.tunings.embed import embed_images, nearest, write_features, write_neighbours
from foldtune.tunings.usable import Plain


@pytest.fixture(scope="module")
def micro():
    return load_backbone("micro", size=16)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("<b>pictures")
    for place in range(6):
        Image.new("RGB", (16, 16), (40 * place, 255 - 40 * place, 30)).save(
            folder / f"<i>{place}.png"
        )
    (folder / "bad.png").write_text("no image")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def found(micro, files):
    return embed_images(Plain(micro.model), micro, files)


def test_features_are_what_the_classifier_multiplies(micro, files, found):
    good = [path for path in files if path.name != "bad.png"]
    assert found.names == tuple(map(str, good))
    assert list(found.broken.values()) == ["not an image"]
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in good]))
    with torch.no_grad():
        logits = micro.model(prepare_for(micro)(pixels, None))
        told = micro.model.head(torch.from_numpy(found.features))
    assert torch.allclose(told, logits, atol=1e-4)  # another batch adds up in another order


def test_npz_is_read_without_pickle_and_parquet_by_column(found, tmp_path):
    from pyarrow import parquet

    write_features(found, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as stored:
        assert tuple(stored["names"]) == found.names
        assert (stored["features"] == found.features).all()
    write_features(found, tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table["path"].to_pylist() == list(found.names)
    assert (np.array(table["features"].to_pylist(), np.float32) == found.features).all()
    with pytest.raises(InputError, match=r"\.npz or \.parquet"):
        write_features(found, tmp_path / "f.csv")


def test_neighbours_are_those_of_a_plain_loop(found):
    which, cosines = nearest(found.features, 3)
    for row, own in enumerate(found.features.astype(np.float64)):
        alike = [
            -np.inf if other == row else own @ one / np.linalg.norm(own) / np.linalg.norm(one)
            for other, one in enumerate(found.features.astype(np.float64))
        ]
        assert cosines[row] == pytest.approx(sorted(alike, reverse=True)[:3], abs=1e-5)
        assert row not in which[row]
    with pytest.raises(InputError, match="none has 6 neighbours"):
        nearest(found.features, 6)


def test_names_of_files_are_text_on_the_page(found, tmp_path):
    write_neighbours(found, tmp_path / "page.html", 2)
    page = (tmp_path / "page.html").read_text()
    assert "<i>" not in page
    assert "&lt;i&gt;0.png" in page
    assert page.count("<tr>") == 6
    assert page.count("<img") == 18


def test_no_image_at_all_is_refused(micro, files):
    with pytest.raises(InputError, match="none of the 1 files is an image"):
        embed_images(Plain(micro.model), micro, [files[-1]])
