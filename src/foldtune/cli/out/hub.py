"""The verb that sends a tuned model to a hub: push."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from foldtune.cli.app import JSON, app
from foldtune.console import emit, facts
from foldtune.startup import import_hosts


@app.command
def push(
    source: Path,
    repo: str,
    /,
    *,
    revision: str | None = None,
    public: Annotated[bool, Parameter(negative="")] = False,
    json: JSON = False,
) -> None:
    """Send an exported folder, or a tuning alone, to REPO (OWNER/NAME) on the hub.

    With the token of `hf auth login`, or HF_TOKEN. A tuning names its backbone by hash. predict and
    eval take hf-hub:OWNER/NAME, or hf-hub:OWNER/NAME@REVISION, and timm takes an exported one.

    revision: a branch. public: where the repository is made new; else only you see it.
    """
    import_hosts()
    from foldtune.tunings.hub import push as run

    names = run(source, repo, revision=revision, public=public)
    told = {"sent": ", ".join(names), "use": f"foldtune predict hf-hub:{repo} IMAGES"}
    emit(told | {"sent": list(names)}) if json else facts(told)
