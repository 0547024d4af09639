"""Protocols are data: each builds, says what it cannot do, and agrees with what was published."""

from dataclasses import replace

import pytest

from foldtune.analysis.tasks.reference import METHODS as METHODS_OF_THE_STUDY
from foldtune.backbones import load_backbone
from foldtune.errors import InputError
from foldtune.methods import catalogue
from foldtune.study.protocols import protocol, protocols, settle_protocol, vtab_tasks
from foldtune.study.protocols.published import published_accuracies, published_values
from foldtune.study.protocols.tasks import recognise
from foldtune.study.search.spaces import plan_values
from foldtune.study.terms.settings import METHODS, default_recipe
from foldtune.training.recipe import Recipe

VTAB = protocol("study-a-vtab")


def each():
    for found in protocols().values():
        for task in found.tasks or (None,):
            for family in found.facts.get("families", (None,)):
                yield pytest.param(found.for_task(task, family), id=f"{found.name}-{task}-{family}")


@pytest.mark.parametrize("found", list(each()))
def test_every_method_of_every_task_gets_a_recipe_and_a_grid(found):
    for text in found.entrants:
        entrant, recipe = found.entrant(text)
        values = plan_values(entrant, None if found.search["sampler"] == "grid" else 1, 0, "grid")
        method, settled_recipe = entrant.configure(recipe, values[0])
        assert isinstance(settled_recipe, Recipe)
        assert type(method).__name__ in catalogue()


def test_ours_is_what_compare_does_without_a_protocol():
    ours = protocol("ours")
    assert ours.entrants == METHODS
    assert ours.entrant("LoRA") == (ours.entrant("LoRA")[0], default_recipe(20))
    assert ours.entrant("LoRA")[0].space["rank"] == (4, 8, 16)


# protocols.md 3.1: runs a task; ours lack Convpass's second initialisation.
RUNS = {
    "LinearProbe": 4, "Full": 4, "BitFit": 4, "LayerNorm": 4, "DiffFit": 4, "SSF": 4,
    "VPTShallow": 20, "VPTDeep": 16, "LoRA": 16, "AdaptFormer": 36, "Pfeiffer": 80, "Houlsby": 64,
    "RepAdapter": 60, "Convpass": 40, "FacTTK": 60, "FacTTT": 60,
}  # fmt: skip


@pytest.mark.parametrize(("method", "runs"), RUNS.items())
def test_the_grids_of_the_unifying_study_have_its_sizes(method, runs):
    entrant, _ = VTAB.for_task("dtd").entrant(method)
    assert len(plan_values(entrant, None, 0, "grid")) == runs


def test_every_published_choice_is_a_point_of_its_grid():
    for task in vtab_tasks():
        for method in METHODS_OF_THE_STUDY.values():
            (values,) = published_values(method, task)
            space = VTAB.for_task(task).entrant(method)[0].space
            assert values.keys() <= space.keys()
            assert all(value in space[name] for name, value in values.items())


def test_a_method_that_was_not_published_has_no_start():
    assert published_values("ARC", "dtd") == ()


def test_both_means_are_recomputed_as_published():
    best = published_accuracies()[0]
    assert best["method"] == "Convpass"
    assert best["mean_of_tasks"] == pytest.approx(74.23, abs=0.01)
    assert best["mean_of_groups"] == pytest.approx(76.35, abs=0.01)


def test_ssf_has_its_own_values_for_each_task():
    found = protocol("ssf-vtab")
    recipe = found.for_task("clevr_dist").recipe("SSF")
    assert (recipe.lr, recipe.weight_decay, recipe.drop_path) == (5e-2, 5e-2, 0.1)
    assert found.for_task("sun397").recipe("SSF").drop_path == 0.0


def test_what_cannot_be_done_is_found_by_looking():
    fgvc = protocol("ssf-fgvc").for_task("cub")
    known = set(Recipe.__dataclass_fields__)
    assert ("ema 0.9998" in fgvc.missing()) == ("ema" not in known)
    invented = replace(VTAB, facts={**VTAB.facts, "recipe": {"epochs": 5, "swirl": 3}})
    assert invented.missing() == ("swirl 3",)


def test_normalisation_is_as_the_protocol_says():
    backbone = VTAB.with_transform(load_backbone("micro", size=16))
    assert backbone.transform.mean == (0.0, 0.0, 0.0)
    assert backbone.transform.std == (1.0, 1.0, 1.0)
    assert backbone.transform.size == 16


def test_a_change_is_kept_and_no_longer_searched():
    changed = replace(VTAB.for_task("dtd"), changes={"epochs": 5, "lr": 0.5})
    entrant, recipe = changed.entrant("SSF")
    assert (recipe.epochs, recipe.warmup_epochs, recipe.lr) == (5, 0.5, 0.5)
    assert "lr" not in entrant.space


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("vtab:dtd@/data/vtab", "dtd"), ("vtab:svhn,names=a@C:\\vtab", "svhn"),
        ("/data/vtab-1k/oxford_iiit_pet", "oxford_iiit_pet"),
        ("pets.zip", "oxford_iiit_pet"), ("cifar100", "cifar"), ("/dtd/mine", "dtd"),
        ("photos", None),
    ],
)  # fmt: skip
def test_a_task_is_recognised_in_a_name(text, task):
    assert recognise(text, vtab_tasks()) == task


@pytest.mark.parametrize(
    ("name", "source", "task", "said"),
    [
        ("study-a-vtab", "photos", None, "needs a task and 'photos' names none; give --task"),
        ("study-a-vtab", "photos", "dtdd", "unknown task of study-a-vtab 'dtdd'; choose from: dtd"),
        ("ssf-imagenet", "x", "cub", "unknown task of ssf-imagenet 'cub'"),
    ],
)
def test_a_task_that_is_not_there_is_refused(name, source, task, said):
    with pytest.raises(InputError, match=said):
        settle_protocol(protocol(name), source, load_backbone("micro", size=16), task)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(InputError, match="unknown protocol 'ssf_vtab'; choose from: ssf-vtab"):
        protocol("ssf_vtab")


def test_a_family_is_told_from_the_backbone():
    micro = load_backbone("micro", size=16)
    swin = replace(micro, name="swin_base_patch4_window7_224")
    cifar = protocol("ssf-cifar100")
    assert settle_protocol(cifar, "x", swin, None).recipe("SSF").lr == 5e-3
    assert settle_protocol(cifar, "x", micro, None).recipe("SSF").lr == 1e-3
    with pytest.raises(InputError, match="no values for mixer_b16"):
        settle_protocol(cifar, "x", replace(micro, name="mixer_b16_224"), None)
