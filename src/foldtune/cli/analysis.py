"""Verbs about what finished studies tell: analyse, ensemble, rank, reference, advise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from foldtune.cli.app import DATA, FULL, JSON, MAIN, MODEL_NAME, app, words
from foldtune.cli.places import ENSEMBLE_OUT, WHOLE
from foldtune.cli.robustness import show_published
from foldtune.cli.shown.boards import show_advice
from foldtune.cli.shown.tables import show_analysis, show_check, show_decision, show_ranking
from foldtune.console import emit, facts, say, table, write
from foldtune.options.groups import AdviceOptions, DataOptions, ModelOptions
from foldtune.options.taken import non_defaults
from foldtune.startup import import_hosts

STUDY = Annotated[Path, words("A study's folder, as compare writes it.", group=MAIN)]
_OF_STUDIES = (
    "One STUDY folder; or several, searches repeated with --search-seed on the same splits, which "
    "tell what differs over new searches, too."
)
_OF_MOST = (
    "How many most confident predictions are compared: a number, or a share of the smallest pool."
)
_OF_DRAWS = "Resamples of the test images behind the intervals of agreement and overlap."
_OF_SELECT = "all methods; best, the K best on validation; greedy; or seeds, the winner's."


@app.command
def analyse(
    studies: Annotated[list[Path], words(_OF_STUDIES, group=MAIN)],
    /,
    *,
    full: FULL = False,
    most: Annotated[float, words(_OF_MOST)] = 0.5,
    k: Annotated[int, words("Size of the ensemble of the best on validation.")] = 3,
    three: Annotated[
        tuple[str, ...], words("Methods of the Venn counts; by default the three best.")
    ] = (),
    draws: Annotated[int, words(_OF_DRAWS)] = 500,
    json: JSON = False,
) -> None:
    """Show which methods of a STUDY differ, how alike they are, and what their ensembles gain, from
    its rows and logits alone. Of several STUDIES, searches repeated with --search-seed on the
    same splits, only what differs: over new searches too.
    """
    from foldtune.report.material import Material
    from foldtune.report.verdict import over_searches, verdict
    from foldtune.study.results.analyses import analyse as run
    from foldtune.study.results.repeats import decide_over_repeats

    if len(studies) > 1:
        decision = decide_over_repeats(studies)
        told = {"decision": decision.as_json(), "verdict": over_searches(decision)}
        emit(told) if json else show_decision(told, full=True)
        return
    (study,) = studies
    told = run(study, most=most, k=k, three=three, draws=draws)
    material = Material.read(study)
    told["verdict"] = verdict(material.board, material.decision, material.validation)
    emit(told) if json else show_analysis(told, full)


@app.command
def ensemble(
    study: STUDY,
    *,
    out: Annotated[ENSEMBLE_OUT, words("The ensemble's folder.", group=MAIN)],
    select: Annotated[str, words(_OF_SELECT, group=MAIN)] = "all",
    rule: Annotated[str, words("The mean of logits or of probabilities, or vote.")] = (
        "probabilities"
    ),
    k: Annotated[int, words("How many methods --select best takes.")] = 3,
    seed: Annotated[WHOLE | None, words("Which final runs; by default the first.")] = None,
    json: JSON = False,
) -> None:
    """Save an ensemble of a STUDY's tunings to the folder OUT, which eval and predict take."""
    from foldtune.study.ensembles import save_ensemble

    told = save_ensemble(study, out, select=select, rule=rule, k=k, seed=seed)
    if json:
        emit(told)
        return
    table(told["members"], ("file", "label", "seed", "weight"))
    facts({"saved": str(out)} | {k: v for k, v in told.items() if k not in ("members", "format")})


@app.command
def rank(
    studies: Annotated[list[Path], words("STUDY folders, one a task.", group=MAIN)],
    /,
    *,
    groups: Annotated[
        tuple[str, ...], words("A name a study, in their order: natural natural structured.")
    ] = (),
    json: JSON = False,
) -> None:
    """Rank methods over several STUDIES, one a task, and say which are distinguishable."""
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
def reference(
    name: Annotated[str, words("vtab, many-shot or robustness.", group=MAIN)] = "vtab",
    *,
    json: JSON = False,
) -> None:
    """Run the published tables (vtab) through ranking and advice, or show many-shot, robustness."""
    from foldtune.analysis.tasks import reference as published
    from foldtune.analysis.tasks.advice_check import check_advice
    from foldtune.analysis.tasks.ranks import rank as run
    from foldtune.errors import unknown_name

    if name not in ("vtab", "many-shot", "robustness"):
        raise unknown_name("reference", name, ("vtab", "many-shot", "robustness"))
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
    data: DATA,
    *,
    model: MODEL_NAME = "micro",
    asked: AdviceOptions = AdviceOptions(),
    options: ModelOptions = ModelOptions(),
    reading: DataOptions = DataOptions(),
    json: JSON = False,
) -> None:
    """Suggest which methods to try first on DATA with MODEL, after a quick look at frozen features
    and from published tables and your own STUDIES.
    """
    from foldtune.options.names import check_model

    check_model(model)
    import_hosts()
    from foldtune.study.advise import advise as run

    told = run(data, model, say=say, **non_defaults(asked, options, reading))
    emit(told) if json else show_advice(told, data, model)
