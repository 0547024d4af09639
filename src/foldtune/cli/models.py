"""Verbs about backbones and methods: sites, methods, inspect."""

from __future__ import annotations

from typing import Annotated, Any

from foldtune.cli.app import FULL, JSON, MAIN, app, words
from foldtune.cli.shown.catalogue import show_candidates, show_cards
from foldtune.console import emit, facts, say, table, write
from foldtune.options.groups import ModelOptions
from foldtune.startup import brief, import_hosts

_NAMES = "micro, lite0 to lite2, a timm name, hf:NAME, or open_clip:MODEL/TAG."
MODEL = Annotated[str, words(_NAMES, group=MAIN)]
_OF_METHOD = 'A method\'s name, or spelled with settings: "LoRA(rank=8)"; see foldtune methods.'


@app.command
@brief()
def sites(model: MODEL, *, options: ModelOptions = ModelOptions(), json: JSON = False) -> None:
    """Show the named places of MODEL where methods stand."""
    from dataclasses import asdict

    from foldtune.core.structure.finding import find_sites
    from foldtune.core.structure.head import find_head

    backbone = load(model, options)
    found = find_sites(backbone.model, backbone.example(), find_head(backbone.model))
    rows = [asdict(site) for site in found]
    columns = ("path", "role", "depth", "channels", "called", "layout", "weight", "bias")
    emit(rows) if json else table(rows, columns)


@app.command
@brief()
def methods(
    *,
    suggest: Annotated[
        bool, words("Only what stands on --model within --budget, in an order to try.", group=MAIN)
    ] = False,
    model: Annotated[str | None, words(f"With --suggest: {_NAMES}", group=MAIN)] = None,
    budget: Annotated[
        str | None,
        words(
            "With --suggest: the most parameters that may train, 100000, or 0.5% of the "
            "backbone's; by default any number.",
            group=MAIN,
        ),
    ] = None,
    full: FULL = False,
    options: ModelOptions = ModelOptions(),
    json: JSON = False,
) -> None:
    """Show the catalogue of methods by kind: trainable parameters on ViT-B/16, on how many of the
    families each merges, and what a step costs, LoRA's being 1.

    With --suggest, each is attached dry to --model and counted there.
    """
    from foldtune.errors import InputError

    if not suggest and (model, budget) != (None, None):
        raise InputError("--model and --budget are of --suggest; give that, too")
    if suggest:
        if model is None:
            raise InputError("--suggest needs --model, on which methods are tried")
        _suggest(model, budget, options, json)
        return
    from foldtune.options.cards import known_cards

    rows = known_cards()
    if rows is None:
        from foldtune.methods.cards import cards

        rows = cards()
    if json:
        emit(rows)
    else:
        show_cards(rows, full=full)


def _suggest(model: str, budget: str | None, options: ModelOptions, json: bool) -> None:
    import gc

    from foldtune.options.names import check_model

    check_model(model)
    from foldtune.study.search.candidates import candidates, read_budget

    if budget is not None:
        read_budget(budget)
    backbone = load(model, options)
    gc.enable()  # some forty attachments come and go
    told = candidates(backbone, budget, say=say)
    emit(told) if json else show_candidates(told)


@app.command
@brief()
def inspect(
    model: MODEL,
    *,
    method: Annotated[str, words(_OF_METHOD, group=MAIN)] = "SSF()",
    classes: Annotated[
        int | None, words("Of the classifier; by default as many as the model has.", group=MAIN)
    ] = None,
    options: ModelOptions = ModelOptions(),
    json: JSON = False,
) -> None:
    """Show what METHOD would train on MODEL, after a dry run forward and backward."""
    from collections import Counter

    backbone = load(model, options, method)
    from foldtune.core.attach import attach
    from foldtune.core.checks.coverage import coverage, shortfall, without_role
    from foldtune.methods.catalogue import parse

    chosen = parse(method)
    attachment = attach(backbone, chosen, num_classes=classes, seed=0)
    sites = attachment.sites
    covered = coverage(sites, attachment.edits)
    apart = without_role(sites)
    told = {
        "model": model,
        "method": repr(chosen),
        "trainable": attachment.trainable,
        "head": attachment.head_size,
        "total": sum(p.numel() for p in attachment.model.parameters()),
        "mergeable": attachment.mergeable,
        "starts_as_identity": chosen.starts_as_identity,
        "edits": len(attachment.edits),
        "edit_kinds": dict(Counter(type(e).__name__ for e in attachment.edits)),
        "stands_on": ", ".join(f"{n} of {of} {role}" for role, (n, of) in covered.items())
        or "the classifier alone",
        "without_role": f"{len(apart)}, such as {apart[0]}" if apart else "0",
        "shortfall": shortfall(attachment.model, sites) or "none",
    }
    emit(told) if json else _show(told)


def load(name: str, options: ModelOptions, method: str | None = None) -> Any:
    """The backbone; a name that nobody has is refused before torch is imported."""
    from foldtune.options.names import check_method, check_model

    check_model(name)
    if method is not None:
        check_method(method)
    import_hosts()
    from foldtune.study.inputs import as_backbone

    return as_backbone(name, options)


_KINDS = {"Reweight": "computed weights", "Rewire": "side networks", "Train": "trained as they are"}


def _show(told: dict[str, Any]) -> None:
    share = 100 * told["trainable"] / told["total"]
    write(
        f"{told['method']} would train {told['trainable']:,} parameters of {told['model']} "
        f"({share:.2f} % of {told['total']:,}) and a classifier of {told['head']:,}; each was "
        "given a gradient in a dry run."
    )
    folds = "folds into the stored weights, at no cost" if told["mergeable"] else "stays beside"
    begins = "the backbone's own" if told["starts_as_identity"] else "changed at once"
    kinds = ", ".join(
        f"{count} {_KINDS.get(kind, kind)}" for kind, count in told["edit_kinds"].items()
    )
    shown = {
        "stands on": told["stands_on"],
        "by": kinds or "the classifier alone",
        "after training": folds,
        "output at the start": begins,
    }
    if told["shortfall"] != "none":
        shown["falls short"] = told["shortfall"]
    if told["without_role"] != "0":
        shown["layers that no method knows"] = told["without_role"]
    facts(shown)
