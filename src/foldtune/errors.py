"""The one error of bad input: what was wrong, where, and the cure, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the caller. The command line prints it as one line and exits with 2."""


class Unwritable(InputError):
    """A place that takes no more, such as a full disk: no run is to blame, and none can go on."""


class NotInstalled(InputError):
    """A package that only some users need is not there; says which extra of foldtune brings it."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package}: pip install 'foldtune[{extra}]'")
        self._asked = (what, package, extra)

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), self._asked  # a worker process sends it back pickled


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is not among the choices, nearest choices first.

    >>> print(unknown_name("method", "LoRa", ["SSF", "LoRA"]))
    unknown method 'LoRa'; choose from: LoRA, SSF
    """
    known = list(choices)
    lower = {c.lower(): c for c in known}
    near = [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.4)]
    rest = [c for c in known if c not in near]
    listed = [*near, *rest][:12]
    more = f", ... ({len(known)} in all)" if len(known) > len(listed) else ""
    return InputError(f"unknown {kind} {name!r}; choose from: {', '.join(listed)}{more}")


def some(names: Iterable[str], where: str = "", *, most: int = 6) -> str:
    """The first of the names, how many more there are, and where all are.

    >>> some(["a", "b", "c", "d"], "foldtune methods", most=2)
    'a, b and 2 more (foldtune methods)'
    """
    known = list(names)
    left = len(known) - most
    if left <= 1:  # one more name is shorter than saying that there is one more
        return ", ".join(known)
    return f"{', '.join(known[:most])} and {left} more{f' ({where})' if where else ''}"
