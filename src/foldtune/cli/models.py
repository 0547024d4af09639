"""Verbs about backbones and methods: sites, methods, inspect."""

from __future__ import annotations

from foldtune.cli.app import JSON, MODEL, ModelOptions, app
from foldtune.console import emit, facts, table
from foldtune.startup import brief


@app.command
@brief()
def sites(model: str, *, options: ModelOptions = MODEL, json: JSON = False) -> None:
    """Show the named places of MODEL where methods stand."""
    from dataclasses import asdict

    from foldtune.core.structure.head import find_head
    from foldtune.core.structure.sites import find_sites

    backbone = options.load(model)
    found = find_sites(backbone.model, backbone.example(), find_head(backbone.model))
    rows = [asdict(site) for site in found]
    columns = ("path", "role", "depth", "channels", "called", "layout", "weight", "bias")
    emit(rows) if json else table(rows, columns)


@app.command
@brief()
def methods(*, json: JSON = False) -> None:
    """Show the catalogue of methods with their settings."""
    from foldtune.methods.catalogue import cards

    rows = cards()
    emit(rows) if json else table(rows, ("method", "what", "settings"))


@app.command
@brief()
def inspect(
    model: str,
    *,
    method: str = "SSF()",
    classes: int | None = None,
    options: ModelOptions = MODEL,
    json: JSON = False,
) -> None:
    """Show what METHOD would train on MODEL, after a dry run forward and backward."""
    from collections import Counter

    from foldtune.core.attach import attach
    from foldtune.core.checks.coverage import coverage, shortfall, without_role
    from foldtune.methods.catalogue import parse

    chosen = parse(method)
    attachment = attach(options.load(model), chosen, num_classes=classes, seed=0)
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
    emit(told) if json else facts(told)
