"""Verbs about what finished studies tell: analyse, ensemble, rank, reference, advise."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foldtune.cli.app import DATA, JSON, MODEL, MODEL_NAME, DataOptions, ModelOptions, app
from foldtune.cli.places import ENSEMBLE_OUT, SEED, WHOLE
from foldtune.cli.robustness import show_published
from foldtune.cli.tables import flat, show_check, show_ranking, tell
from foldtune.console import emit, facts, table, write

_MANY = Parameter(consume_multiple=True)


@app.command
def analyse(
    studies: Annotated[list[Path], _MANY],
    /,
    *,
    most: float = 0.5,
    k: int = 3,
    three: Annotated[tuple[str, ...], _MANY] = (),
    draws: int = 500,
    json: JSON = False,
) -> None:
    """Show which methods of a STUDY differ, how alike they are, and what their ensembles gain, from
    its rows and logits alone. Of several STUDIES, searches repeated with --search-seed on the same
    splits, only what differs: over new searches too.

    most: how many most confident predictions are compared, a number, or a share of the smallest
    pool. k: size of the ensemble of the best on validation. three: methods of the Venn counts.
    draws: resamples of the test images behind the intervals of agreement and overlap.
    """
    from foldtune.report.material import Material
    from foldtune.report.verdict import over_searches, verdict
    from foldtune.study.results.analyses import analyse as run
    from foldtune.study.results.repeats import repeated

    if len(studies) > 1:
        decision = repeated(studies)
        tell({"decision": decision.told(), "verdict": over_searches(decision)}, json)
        return
    (study,) = studies
    told = run(study, most=most, k=k, three=three, draws=draws)
    material = Material.read(study)
    told["verdict"] = verdict(material.board, material.decision, material.validation)
    tell(told, json)
    if json:
        return
    if "figures" in told:  # of a task of which the rest has no meaning
        table(told["figures"], tuple(told["figures"][0]), f"Each metric of {told['task']}")
        for line in told["notes"]:
            write(line)
        return
    columns = ("a", "b", "agreement", "seeds_agreement", "given_both_wrong", "kappa")
    table(flat(told["agreement"]), columns, "Agreement (a with itself: other seeds)")
    facts(flat([told["oracle"]])[0])
    for side, found in told["confident"].items():
        title = f"Overlap of the {found['k']} most confident {side} predictions"
        table(flat(found["pairs"]), ("a", "b", "jaccard"), title)
        if found["venn"]:
            facts(found["venn"]["regions"])
    columns = ("ensemble", "rule", "accuracy", "gain", "gain_over_mean", "passes")
    table(flat(told["ensembles"]), columns, "Ensembles (last: the control, other seeds)")
    columns = ("method", "top1", "nll", "brier", "ece", "aurc")
    table(told["calibration"], columns, "Calibration")
    for line in told["notes"]:
        write(line)


@app.command
def ensemble(
    study: Path,
    *,
    out: ENSEMBLE_OUT,
    select: str = "all",
    rule: str = "probabilities",
    k: int = 3,
    seed: WHOLE | None = None,
    json: JSON = False,
) -> None:
    """Save an ensemble of a STUDY's tunings to the folder OUT, which eval and predict take.

    select: all methods; the best K on validation; greedy on validation; or seeds, all those of the
    winner. rule: logits or probabilities (means), or vote. seed: which final runs.
    """
    from foldtune.study.ensembles import save_ensemble

    told = save_ensemble(study, out, select=select, rule=rule, k=k, seed=seed)
    if json:
        emit(told)
        return
    table(told["members"], ("file", "label", "seed", "weight"))
    facts({"saved": str(out)} | {k: v for k, v in told.items() if k not in ("members", "format")})


@app.command
def rank(
    studies: Annotated[list[Path], _MANY],
    /,
    *,
    groups: Annotated[tuple[str, ...], _MANY] = (),
    json: JSON = False,
) -> None:
    """Rank methods over several STUDIES, one a task, and say which are distinguishable.

    groups: a name a study, in their order, e.g. natural natural structured.
    """
    from foldtune.analysis.tasks.ranks import rank as run
    from foldtune.study.results.tasks import read_scores

    scores, left_out = read_scores(studies, groups)
    told = run(scores) | {"left_out": left_out}
    if json:
        emit(told)
        return
    show_ranking(told)
    for study, labels in left_out.items():
        write(f"not in every study, left out of {study}: {', '.join(labels)}")


@app.command
def reference(name: str = "vtab", *, json: JSON = False) -> None:
    """Run the published tables (vtab) through ranking and advice, or show many-shot, robustness."""
    from foldtune.analysis.tasks import reference as published
    from foldtune.analysis.tasks.advice_check import check_advice
    from foldtune.analysis.tasks.ranks import rank as run
    from foldtune.errors import unknown

    if name not in ("vtab", "many-shot", "robustness"):
        raise unknown("reference", name, ("vtab", "many-shot", "robustness"))
    if name == "robustness":
        show_published(json)
        return
    if name == "many-shot":
        rows = published.many_shot()
        emit(rows) if json else table(rows, tuple(rows[0]))
        return
    told = {
        f"{epoch}_epoch": run(published.vtab(epoch)) | {"advice": check_advice(epoch)}
        for epoch in published.EPOCHS
    }
    if json:
        emit(told)
        return
    for epoch, found in told.items():
        write(f"== {epoch.replace('_', ' ')} ==")
        show_ranking(found)
        show_check(found["advice"])


@app.command
def advise(
    data: str,
    *,
    model: MODEL_NAME = "micro",
    studies: Annotated[tuple[Path, ...], _MANY] = (),
    size: Annotated[int, Parameter(name="--suggestions")] = 3,
    seed: SEED = 0,
    options: ModelOptions = MODEL,
    reading: DataOptions = DATA,
    json: JSON = False,
) -> None:
    """Suggest which methods to try first on DATA with MODEL, after a quick look at frozen features
    and from published tables and your own STUDIES.
    """
    from foldtune.study.advise import advise as run

    backbone = options.load(model)
    told = run(reading.load(data, backbone, seed), backbone, studies=studies, size=size, seed=seed)
    if json:
        emit(told)
        return
    columns = ("method", "lr", "weight_decay", "expected_shortfall", "support")
    table(told["suggestions"], columns, "Try first")
    seen = dict(told["look"])
    seen |= {f"images_per_class, {k}": v for k, v in seen.pop("images_per_class").items()}
    facts({"sure": told["sure"]} | seen)
    nearest = ", ".join(case["case"] for case in told["suggestions"][0]["cases"])
    write(f"Most like, of {told['evidence']['published_tasks']} published tasks and "
          f"{len(told['evidence']['own_studies'])} own studies: {nearest}.")  # fmt: skip
    record, baseline, nested = (told["record"][k] for k in ("advice", "baseline", "nested"))
    write(
        "On the published tasks, each left out in turn, this advice lost "
        f"{record['one']['value']:.2f} points to the best method with one suggestion and "
        f"{record['three']['value']:.2f} with the best of three ({nested['one']['value']:.2f} and "
        f"{nested['three']['value']:.2f} where its feature is chosen without the task); always "
        f"the best on average {baseline['one']['value']:.2f} and {baseline['three']['value']:.2f}."
    )
    edge, first = told["record"]["edge"], told["record"]["calibration"]["first"]
    write(
        f"Its edge of {edge['gain']:.2f} points with one suggestion is {edge['without_one']:.2f} "
        f"without {edge['task']}. Support is the chance to come within a point of the best: of the "
        f"first it said {first['said']:.0%} on average, and {first['true']:.0%} came true."
    )
    if told["evidence"]["unknown_methods"]:
        write(f"Nothing is known of: {', '.join(told['evidence']['unknown_methods'])}.")
    for line in told["cautions"]:
        write(line)
    quoted = [shlex.quote(row["name"]) for row in told["suggestions"]]
    write(f"Next: foldtune compare {shlex.quote(data)} --model {shlex.quote(model)} --methods "
          f"{' '.join(quoted)} --out DIR")  # fmt: skip
