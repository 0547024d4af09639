"""The packaged cards are the classes' own, and their costs are what counting again finds."""

import subprocess
import sys

import pytest
import timm
import torch

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.judging.counters import count
from foldtune.methods import parse
from foldtune.methods.cards import KINDS, cards, written_cards
from foldtune.options.cards import known_cards, read_packaged

AGAIN = "python benchmarks/method_costs.py --missing writes it again"


@pytest.fixture(scope="module")
def host():
    """The counted host without values: shapes decide parameters and operations."""
    counted = read_packaged()["counted"]
    with torch.device("meta"):
        model = timm.create_model(counted["host"], num_classes=counted["classes"]).eval()
        images = torch.zeros(2, 3, 224, 224)
    return model, images


def test_packaged_words_are_those_of_the_classes():
    assert read_packaged()["cards"] == written_cards(), AGAIN
    assert [*read_packaged()["steps"]] == [card["method"] for card in written_cards()], AGAIN
    assert known_cards() == cards()


# One that adds, one that is refused.
@pytest.mark.parametrize("name", ["VPTDeep", "ConvAdapter"])
def test_trainable_parameters_are_those_of_an_attachment_on_the_host(host, name):
    model, x = host
    found = read_packaged()["steps"][name]
    if found is None:
        with pytest.raises(InputError, match="ConvAdapter"):
            attach(model, parse(name), example=x)
        return
    attachment = attach(model, parse(name), example=x)
    trainable = attachment.trainable
    attachment.detach()
    assert found["trainable"] == trainable, AGAIN


# Weights are computed once a step, and features pass through them for every image.
@pytest.mark.parametrize("name", ["DoRA"])
def test_a_step_costs_what_one_block_and_each_further_one_are_counted_to_cost(name):
    counted, x = read_packaged()["counted"], torch.zeros(2, 3, 224, 224)

    def step(depth):
        model = timm.create_model(counted["host"], num_classes=counted["classes"], depth=depth)
        attach(model, parse(name), example=x[:1], seed=0)
        return count(model, x).of_step(counted["batch"])

    (flops, kept), (more_flops, more_kept) = step(1), step(2)
    found = read_packaged()["steps"][name]  # rounded to a tenth
    assert found["gflop"] == pytest.approx((flops + 11 * (more_flops - flops)) / 1e9, abs=0.06)
    assert found["mib"] == pytest.approx((kept + 11 * (more_kept - kept)) / 2**20, abs=0.06)


def test_the_catalogue_is_shown_without_importing_torch():
    code = (
        "import sys; from foldtune.cli import main\n"
        "sys.argv = ['foldtune', 'methods']; main()\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [line for line in lines if line in KINDS] == list(KINDS[:4])
    lora = next(line for line in lines if line.startswith("LoRA "))
    assert lora.split()[:6] == ["LoRA", "2022", "294,912", "31/31", "1.00", "1.00"]
