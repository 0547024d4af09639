"""Unknown names list the choices, nearest first."""

import pickle

from foldtune.errors import InputError, NotInstalled, some, unknown_name


def test_the_nearest_choice_comes_first():
    error = unknown_name("method", "LoRa", ["SSF", "BitFit", "LoRA"])
    assert isinstance(error, InputError)
    assert "LoRA, SSF, BitFit" in str(error)


def test_a_long_list_is_cut_and_counted():
    text = str(unknown_name("model", "vit", [f"model_{i}" for i in range(40)]))
    assert text.endswith("... (40 in all)")


def test_some_names_say_how_many_more_there_are_and_where():
    names = [f"m{i}" for i in range(9)]
    assert some(names, "foldtune methods") == "m0, m1, m2, m3, m4, m5 and 3 more (foldtune methods)"
    assert some(names[:7]) == ", ".join(names[:7])  # as short as "and 1 more"


def test_a_missing_package_is_told_from_a_worker_too():
    told = NotInstalled("reading parquet", "pyarrow", "parquet")
    assert str(pickle.loads(pickle.dumps(told))) == str(told)
