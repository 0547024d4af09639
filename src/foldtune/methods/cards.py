"""What is told of every method: its card, its kind, what it can do as probed; no method itself."""

from __future__ import annotations

import inspect
import re
from typing import Any

from foldtune.core.method import Method, settings
from foldtune.methods.catalogue import catalogue
from foldtune.options.cards import capabilities as capabilities
from foldtune.options.cards import complete

# In the order in which they are shown.
KINDS = ("probes", "merge", "HF PEFT's layers", "stay beside", "not probed")


def cards() -> list[dict[str, Any]]:
    """For each method its name, what it is in one line, its settings, its full card, what it can
    do and what it costs (see `complete`). Grouped by kind."""
    return complete(written_cards())


def written_cards() -> list[dict[str, Any]]:
    """What the classes themselves say, grouped by kind."""
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
            "source": _source(cls),
            "starts_as_identity": cls().starts_as_identity,
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


def _source(cls: type[Method]) -> str:
    """The papers that its card names; empty where it names none."""
    text = " ".join((cls.__doc__ or "").partition("Source:")[2].split())
    return re.split(r"\.(?= [A-Z`][a-z_]+|$)", text)[0]


def _year(cls: type[Method]) -> str:
    """Of the first source that its card names; empty where it names none."""
    year = re.search(r"\b20\d\d\b|(?<=arXiv )\d\d(?=\d\d\.)", _source(cls))
    return "" if year is None else f"20{year[0][-2:]}"
