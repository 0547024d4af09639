"""Unknown names list the choices, nearest first."""

import pickle

from foldtune.errors import InputError, NotInstalled, unknown


def test_the_nearest_choice_comes_first():
    error = unknown("method", "LoRa", ["SSF", "BitFit", "LoRA"])
    assert isinstance(error, InputError)
    assert "LoRA, SSF, BitFit" in str(error)


def test_a_long_list_is_cut_and_counted():
    text = str(unknown("model", "vit", [f"model_{i}" for i in range(40)]))
    assert text.endswith("... (40 in all)")


def test_a_missing_package_is_told_from_a_worker_too():
    told = NotInstalled("reading parquet", "pyarrow", "parquet")
    assert str(pickle.loads(pickle.dumps(told))) == str(told)
