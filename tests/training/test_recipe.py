import json
from dataclasses import asdict, fields

import pytest

from foldtune.errors import InputError
from foldtune.study.terms.settings import default_recipe
from foldtune.training.recipe import Recipe


def test_survives_json():
    recipe = Recipe(epochs=3, augment=("flip",), clip_norm=1.0, betas=(0.8, 0.9))
    assert Recipe(**json.loads(json.dumps(asdict(recipe)))) == recipe


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("epochs", 2.5),
        ("epochs", True),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("weight_decay", -1e-4),
        ("warmup_epochs", -1),
        ("warmup_epochs", 20),
        ("warmup_lr", 1.0),
        ("min_lr", 1.0),
        ("momentum", 1.0),
        ("betas", (0.9, 1.0)),
        ("betas", (0.9,)),
        ("clip_norm", 0),
        ("label_smoothing", 1.0),
        ("mixup", -1),
        ("cutmix", -1),
        ("drop_path", 1.0),
        ("decay_1d", 1),
        ("drop_last", "no"),
        ("augment", (1,)),
    ],
)
def test_refusal_names_field_value_and_range(field, value):
    with pytest.raises(InputError, match=rf"recipe: {field}=.*allowed: "):
        Recipe(**{field: value})


@pytest.mark.parametrize(("epochs", "warms"), [(0, 0.0), (1, 0.1), (2, 0.2), (20, 2.0), (100, 5.0)])
def test_few_epochs_warm_up_for_a_part_of_them_as_on_the_command_line(epochs, warms):
    assert Recipe(epochs=epochs).warmup_epochs == pytest.approx(warms)
    assert Recipe(epochs=epochs) == default_recipe(epochs)


@pytest.mark.parametrize("field", ["optimizer", "schedule", "precision"])
def test_refusal_of_a_name_lists_the_choices(field):
    with pytest.raises(InputError, match=rf"unknown recipe {field} 'bad'; choose from: "):
        Recipe(**{field: "bad"})


def test_every_field_is_checked():
    class Odd:
        """Of no type that any field takes."""

        def __iter__(self):
            return iter([self])

    for field in fields(Recipe):
        with pytest.raises((InputError, TypeError)):
            Recipe(**{field.name: Odd()})
