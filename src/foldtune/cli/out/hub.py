"""The verb that sends a tuned model to a hub: push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from foldtune.cli.app import JSON, MAIN, app, words
from foldtune.console import emit, facts
from foldtune.startup import import_hosts


@app.command
def push(
    source: Annotated[Path, words("An exported folder, or a tuning alone.", group=MAIN)],
    repo: Annotated[str, words("OWNER/NAME on the hub.", group=MAIN)],
    /,
    *,
    revision: Annotated[str | None, words("A branch; by default the main one.")] = None,
    public: Annotated[
        bool, words("Where the repository is made new, all see it; else only you.")
    ] = False,
    json: JSON = False,
) -> None:
    """Send an exported folder, or a tuning alone, to REPO (OWNER/NAME) on the hub.

    With the token of `hf auth login`, or HF_TOKEN. A tuning names its backbone by hash. predict and
    eval take hf-hub:OWNER/NAME, or hf-hub:OWNER/NAME@REVISION, and timm takes an exported one.
    """
    import_hosts()
    from foldtune.tunings.hub import push as run

    names = run(source, repo, revision=revision, public=public)
    told = {"sent": ", ".join(names), "use": f"foldtune predict hf-hub:{repo} IMAGES"}
    emit(told | {"sent": list(names)}) if json else facts(told)
