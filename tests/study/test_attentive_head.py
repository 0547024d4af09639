"""`--head attentive`: AttentiveProbe on top of every method, from training to what is exported."""

import numpy as np
import pytest
from PIL import Image

import foldtune
from foldtune.errors import InputError
from foldtune.methods import parse
from foldtune.study.bench.bench import Bench
from foldtune.study.compare import compare
from foldtune.study.fit import fit
from foldtune.study.terms.settings import attentive, named_attentive
from foldtune.study.tuned.export import export
from foldtune.training.recipe import Recipe

SHORT = Recipe(epochs=1, warmup_epochs=0.2, batch_size=32, lr=3e-3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SSF", "SSF() + AttentiveProbe()"),
        ("LoRA(rank=2) + BitFit()", "LoRA(rank=2) + BitFit() + AttentiveProbe()"),
        ("LinearProbe", "AttentiveProbe"),  # its queries are searched
        ("AttentiveProbe(queries=4)", "AttentiveProbe(queries=4)"),
        ("SSF + AttentiveProbe(queries=4)", "SSF + AttentiveProbe(queries=4)"),
    ],
)
def test_it_is_a_word_for_the_sum(text, found):
    assert named_attentive(text) == found
    assert attentive(parse(text)) == parse(found)


def test_a_penalty_that_nothing_would_solve_for_is_refused():
    with pytest.raises(InputError, match=r"LinearProbe\(C=1.0\) names a penalty"):
        attentive(parse("LinearProbe(C=1.0)"))


@pytest.fixture(scope="module")
def tuned(digits, tmp_path_factory):
    """What `fit` found for SSF under the attentive head."""
    backbone = foldtune.load_backbone("micro", size=16)
    out = tmp_path_factory.mktemp("attentive")
    return fit(digits, backbone, "SSF", head="attentive", recipe=SHORT, out=out)


def test_fit_trains_the_sum_with_its_own_start_of_the_classifier(tuned, digits):
    assert repr(tuned.attachment.method) == "SSF() + AttentiveProbe()"
    (gain,) = [t for n, t in tuned.attachment.named_tensors().items() if n.endswith("gain")]
    assert gain.detach().abs().max() > 0  # it started at zero
    # The very run that the sum is.
    bench = Bench(foldtune.load_backbone("micro", size=16), digits)
    told = {"head": "regularised", "train_on": ("train",)}
    run = bench.describe("fit", parse("SSF() + AttentiveProbe()"), SHORT, 0, **told)
    assert tuned.row["run"] == run.key


def test_an_exported_folder_answers_as_the_tuning_does(tuned, digits, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, row in zip(files, digits.split("test"), strict=False):
        Image.fromarray(np.asarray(digits.pixels[row])).save(file)
    exported = export(tuned.tuning, tmp_path / "model", data=digits, images=8)
    assert exported.kind == "live"  # the probe's keys stay: foldtune alone reads it
    ours, theirs = (foldtune.predict(of, files) for of in (tuned.tuning, tmp_path / "model"))
    assert len(ours) == 3
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["class"] == other["class"]
        # The same products in single precision, SSF folded in or not.
        assert mine["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_compare_has_it_on_top_of_every_entrant(digits, backbone, tmp_path):
    found = compare(
        digits, backbone, ["LinearProbe", "BitFit"], out=tmp_path, head="attentive", trials=1,
        seeds=1, recipe=SHORT,
    )  # fmt: skip
    labels = {row["label"] for row in found.rows}
    assert labels == {"AttentiveProbe", "BitFit() + AttentiveProbe()"}
    assert all(row["verdict"] == "finished" for row in found.rows)
    assert all(row["head_start"] == "regularised" for row in found.rows)


def test_the_estimator_takes_it_and_a_wrong_word_names_it(digits, backbone):
    images = np.random.default_rng(0).random((8, 16, 16))
    model = foldtune.Classifier(backbone, "BitFit", epochs=1, head="attentive")
    assert model.fit(images, [0, 1] * 4).method_ == "BitFit() + AttentiveProbe()"
    with pytest.raises(InputError, match=r"unknown start of the head 'attentve'.* attentive"):
        fit(digits, backbone, "BitFit", head="attentve")
