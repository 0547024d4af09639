"""Unknown names list the choices, nearest first."""

from foldtune.errors import InputError, unknown


def test_the_nearest_choice_comes_first():
    error = unknown("method", "LoRa", ["SSF", "BitFit", "LoRA"])
    assert isinstance(error, InputError)
    assert "LoRA, SSF, BitFit" in str(error)


def test_a_long_list_is_cut_and_counted():
    text = str(unknown("model", "vit", [f"model_{i}" for i in range(40)]))
    assert text.endswith("... (40 in all)")
