"""Our own defaults for a user's folder."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foldtune.core.method import Method, settings
from foldtune.errors import InputError
from foldtune.methods.attentive import AttentiveProbe
from foldtune.methods.catalogue import parse
from foldtune.options.groups import TrainOptions
from foldtune.study.bench.run import ATTENTIVE
from foldtune.training.recipe import Recipe

METHODS = ("LinearProbe", "BitFit", "LayerNorm", "SSF", "LoRA", "AdaptFormer", "Full")


def default_recipe(epochs: int = 20) -> Recipe:
    """AdamW, cosine, a tenth of the epochs (five at most) warming up, no augmentation."""
    return Recipe(epochs=epochs)


def recipe_fields(training: TrainOptions) -> dict[str, Any]:
    """The fields of a recipe that the options say; of several remedies, which a search is to try,
    the first."""
    remedies = training.imbalance
    first = remedies if isinstance(remedies, str) else remedies[0]
    return {**vars(training), "imbalance": first}


def settle_recipe(method: Method, recipe: Recipe, head: str) -> Recipe:
    """The recipe that a run of the method has where its classifier starts at `head`.

    A method that learns nothing but the classifier has nothing left to train where it starts
    solved: no epochs, and nothing kept of the recipe that would name the same run twice. Raises
    InputError for a penalty that nothing solves for.
    """
    if not method.only_classifier:
        return recipe
    if head == "probe":
        kept = {name: getattr(recipe, name) for name in ("precision", "imbalance")}
        return replace(Recipe(epochs=0, warmup_epochs=0.0, head_lr=None), **kept)
    if penalty(method) is not None:
        raise InputError(
            f"{method!r} names the penalty of a solved classifier, and this one is trained from "
            f"{head}; leave C out, or --head {head}"
        )
    return replace(recipe, head_lr=None)  # else the rate that is searched would be nobody's


def penalty(method: Method) -> float | None:
    """The C that a method gives the classifier it solves; None where likelihood chooses it."""
    return settings(method).get("C") if method.only_classifier else None


def attentive(method: Method) -> Method:
    """The sum of the method and AttentiveProbe, as `--head attentive` has it; in the place of what
    trains the classifier alone AttentiveProbe itself, and what has one already as it is.

    Raises InputError for a penalty of a solved classifier, since this one is trained.
    """
    if any(isinstance(part, AttentiveProbe) for part in method.parts):
        return method
    if penalty(method) is not None:
        raise InputError(f"{method!r} names a penalty, and --head {ATTENTIVE} solves no classifier")
    return AttentiveProbe() if method.only_classifier else method + AttentiveProbe()


def named_attentive(text: str) -> str:
    """The same of a method's text; a bare name, whose settings are searched, may stay one."""
    method = parse(text)
    found = attentive(method)
    if found == method:
        return text
    return type(found).__name__ if found == AttentiveProbe() else repr(found)
