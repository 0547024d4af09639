"""What is told of every method: its card, its kind, what it can do as probed; no method itself."""

from __future__ import annotations

import inspect
import json
import re
from importlib.resources import files
from typing import Any

from foldtune.core.method import Method, settings
from foldtune.methods.catalogue import catalogue

# In the order in which they are shown.
KINDS = ("probes", "merge", "HF PEFT's layers", "stay beside", "not probed")


def capabilities() -> dict[str, Any]:
    """The packaged table of what each method can do on each family of backbones, as probed."""
    text = (files("foldtune.methods") / "capabilities.json").read_text(encoding="utf-8")
    return json.loads(text)


def cards() -> list[dict[str, Any]]:
    """For each method its name, what it is in one line, its settings, its full card, and what it
    can do: by family of backbones whether it merges, stays beside the model, or is refused and
    why; None for a plug-in, which nobody has probed. Grouped by kind."""
    probed = capabilities()["methods"]
    kinds = {name: _kind(name, cls, probed) for name, cls in catalogue().items()}
    known = sorted(catalogue().items(), key=lambda item: KINDS.index(kinds[item[0]]))
    return [
        {
            "kind": kinds[name],
            "method": name,
            "year": _year(cls),
            "merges": _merges(probed.get(f"{name}()")),
            "what": (cls.__doc__ or "").strip().partition("\n")[0],
            "settings": ", ".join(f"{k}={v!r}" for k, v in settings(cls()).items()),
            "starts_as_identity": cls().starts_as_identity,
            "capabilities": probed.get(f"{name}()"),
            "card": inspect.cleandoc(cls.__doc__ or ""),
        }
        for name, cls in known
    ]


def _kind(name: str, cls: type[Method], probed: dict[str, Any]) -> str:
    """One of KINDS; a merge that leaves keys everywhere is a probe's."""
    if cls.library:
        return "HF PEFT's layers"
    if name.endswith("Probe"):
        return "probes"
    if f"{name}()" not in probed:
        return "not probed"
    families = probed[f"{name}()"]["families"].values()
    return "merge" if any(cell.get("merges") for cell in families) else "stay beside"


def _merges(facts: dict[str, Any] | None) -> str:
    """On how many of the families on which it stands it merges; empty where nobody has tried."""
    if facts is None:
        return ""
    stands = [cell for cell in facts["families"].values() if "refused" not in cell]
    return f"{sum(bool(cell.get('merges')) for cell in stands)}/{len(stands)}"


def _year(cls: type[Method]) -> str:
    """Of the first source that its card names; empty where it names none."""
    _, found, source = (cls.__doc__ or "").partition("Source:")
    year = re.search(r"\b20\d\d\b|(?<=arXiv )\d\d(?=\d\d\.)", source) if found else None
    return "" if year is None else f"20{year[0][-2:]}"
