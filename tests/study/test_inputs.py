"""What cannot be tuned on is refused before anything runs."""

import numpy as np
import pytest
from PIL import Image

from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.study.inputs import as_backbone, as_data


def test_data_for_evaluation_alone_is_refused(tmp_path):
    for wnid in ("n01440764", "n01484850"):
        (tmp_path / "a" / wnid).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / wnid / "x.png")
    data = load_data(f"imagenet-a@{tmp_path / 'a'}", size=64, cache=tmp_path / "cache")
    with pytest.raises(InputError, match="has a test split alone, so nothing can be tuned on it"):
        as_data(data, as_backbone("micro"))
