"""A misspelled model or method is refused before anything heavy is imported."""

import subprocess
import sys

import pytest
import timm

from foldtune.backbones import lite, micro
from foldtune.errors import InputError
from foldtune.methods import catalogue
from foldtune.options.names import (
    PACKAGED,
    check_method,
    check_model,
    methods,
    timm_models,
    timm_renamed,
)


def test_the_models_are_those_that_timm_registers():
    assert list(timm_models()) == sorted(timm.list_models())
    known = {*timm_models(), *timm_renamed()}
    assert set(timm.list_models(include_tags=False)) <= known
    assert all(timm.is_model(name) for name in timm_renamed())


def test_the_packaged_models_are_those_of_the_backbones():
    assert (micro.NAME, *lite.NAMES) == PACKAGED


def test_the_methods_are_those_of_the_catalogue():
    own = [name for name, cls in catalogue().items() if cls.__module__.startswith("foldtune.")]
    # `Peft("vera")` is read as a method's text, too, and is none of the catalogue.
    assert [name for name in methods() if name != "Peft"] == own
    assert "Peft" in methods()


@pytest.mark.parametrize(
    "name", ["micro", "lite2", "vit_tiny_patch16_224", "vit_base_patch16_clip_224.openai",
             "hf:google/vit", "hf-hub:timm/x", "open_clip:ViT-B-32", "local-dir:some/folder",
             "out/model"],
)  # fmt: skip
def test_a_known_name_is_let_through(name):
    check_model(name)


def test_an_unknown_model_names_the_nearest():
    with pytest.raises(InputError, match="choose from: vit_small_patch16_224"):
        check_model("vit_smal_patch16_224")


def test_a_sum_with_an_unknown_method_names_the_nearest():
    check_method("SSF() + LoRA(rank=4)")
    with pytest.raises(InputError, match="unknown method 'Lora'; choose from: LoRA"):
        check_method("SSF() + Lora(rank=4)")


@pytest.mark.parametrize(
    "words", [("inspect", "vit_smal_patch16_224"), ("fit", "digits", "--method", "Lora"),
              ("compare", "digits", "--methods", "SSF", "Lora")],
)  # fmt: skip
def test_the_command_line_refuses_without_importing_torch(words, tmp_path):
    more = ("--out", str(tmp_path / "out")) if words[0] != "inspect" else ()
    code = (
        "import sys; from foldtune.cli import main\n"
        f"sys.argv = ['foldtune', *{(*words, *more)}]\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "choose from: " in done.stderr
    assert done.stdout.split() == ["False", "False"]
