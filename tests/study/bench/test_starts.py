"""Where classifiers start, on the plain backbone."""

from dataclasses import replace

import numpy as np

from foldtune.study.bench.bench import Bench
from foldtune.study.bench.starts import Starts
from foldtune.training.probe import REGULARISED


def test_groups_of_the_data_are_not_parted_as_the_penalty_is_chosen(backbone, digits):
    """Each training image five times: told apart at once where copies are on both sides."""
    rows = digits.splits["train"]
    copies = np.repeat(np.arange(len(digits.pixels)), 5)
    repeated = replace(
        digits, pixels=digits.pixels[copies], labels=digits.labels[copies],
        splits={"train": np.flatnonzero(np.isin(copies, rows))},
    )  # fmt: skip
    grouped = replace(repeated, groups=tuple(map(str, copies)))
    loose, kept = (Starts(backbone, data).probe(("train",)) for data in (repeated, grouped))
    assert loose.nll < kept.nll


def test_a_regularised_start_is_the_probe_of_one_stated_penalty(backbone, digits):
    starts = Starts(backbone, digits)
    weight, bias = starts.of("regularised", ("train",), seed=3)
    wanted = starts.probe(("train",), REGULARISED, 3)
    assert weight.equal(wanted.weight)
    assert bias.equal(wanted.bias)


def test_a_bench_solves_a_start_once_a_study(backbone, digits):
    starts = Bench(backbone, digits).starts
    assert starts.probe(("train",)) is starts.probe(("train",))
