"""The verb that looks whether files are as they were written: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from foldtune.cli.app import JSON, MAIN, app, words
from foldtune.console import emit, facts, say, table


@app.command
def check(
    path: Annotated[Path, words("A study's folder, a tuning, or a saved ensemble.", group=MAIN)],
    /,
    *,
    repair: Annotated[
        bool,
        words(
            "Move what was altered aside, with the rows that rest on it; compare computes it again."
        ),
    ] = False,
    json: JSON = False,
) -> None:
    """Tell whether the files of a STUDY, a TUNING or a saved ensemble are as they were written; of
    a damaged study exit with 1.
    """
    from dataclasses import asdict

    from foldtune.study.check import check as run

    found = run(path, repair=repair)
    bad = [one for one in found.files if one.state in ("altered", "missing")]
    if json:
        emit({"kind": found.kind, "sound": found.sound} | {"files": list(map(asdict, found.files))})
    else:
        if bad:
            columns = ("file", "state", *["aside"] * any(one.aside for one in bad))
            table(map(asdict, bad), columns)
        facts(
            {f"files of the {found.kind}": len(found.files)}
            | {state: found.count(state) for state in ("sound", "altered", "missing", "unbound")}
        )
    if found.count("unbound"):
        say("unbound: written by an earlier foldtune, which kept no hash; that cannot be verified")
    if not bad:
        return
    cure = "compare" if repair else "check --repair, then compare"
    say(f"{len(bad)} files are not as they were written; {cure} computes again what rests on them")
    raise SystemExit(1)
