"""PEFT's names for what is a method here, and the reason for what is none."""

import pytest
from peft import PeftType

from foldtune.errors import InputError
from foldtune.methods import Peft, VeRA, WaveFT, catalogue, parse


def test_a_type_of_peft_is_the_method_of_its_layers():
    assert Peft("vera", r=64, projection_prng_key=3) == VeRA(rank=64, seed=3)
    assert parse("Peft('waveft', n_frequency=10)") == WaveFT(count=10)
    assert repr(parse("Peft('vera', r=64) + SSF()")) == "VeRA(rank=64) + SSF()"


@pytest.mark.parametrize("kind", [k.value.lower() for k in PeftType])
def test_every_type_of_peft_is_a_method_or_refused_with_the_reason(kind):
    if kind in {cls.peft_type.lower() for cls in catalogue().values() if cls.library == "peft"}:
        assert Peft(kind).peft_type == kind.upper()
        return
    with pytest.raises(InputError, match=f"Peft..{kind}.. (is foldtune's own|cannot tune a)"):
        Peft(kind)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Peft('prompt_tuning')", "tokens of text; VPTShallow"),
        ("Peft('tinylora')", "singular value decomposition"),
        ("Peft('lora', r=4)", r"own LoRA; write LoRA\(...\)"),
        ("Peft('veera')", "unknown type of PEFT 'veera'; choose from: vera"),
        ("Peft('vera', rank=4)", r"unknown option of Peft\('vera'\) 'rank'; choose from: r"),
        ("Peft('vera', r=0)", "rank must be at least 1"),
        ("Peft('vera', r='x')", "rank must be int"),
        ("Peft()", r"write e.g. Peft\('vera', r=64\)"),
        ("Peft('vera', **{'r': 4})", r"write e.g. Peft\('vera', r=64\)"),
    ],
)
def test_wrong_words_are_told(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)
