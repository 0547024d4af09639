"""What other people's loops do to an attached model, and that each is right or refused.

    from foldtune.testing import check_host
    check_host(LoRA(rank=4), "vit")

gives for every situation "right" or the words of a refusal; a wrong one raises AssertionError. A
situation is a function of a method and a host; its first line says what is done. The packaged table
(`foldtune/methods/situations.json`) holds the result for every catalogued method; `python
benchmarks/situations.py` writes it and its page again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable

from foldtune.core.method import Method
from foldtune.errors import InputError
from foldtune.testing.hosts import build_host
from foldtune.testing.layers import LAYERS
from foldtune.testing.passes import PASSES
from foldtune.testing.states import STATES
from foldtune.testing.tuned import Situation
from foldtune.testing.wrappers import GROUPED, WRAPPED, one_process

SITUATIONS: tuple[Situation, ...] = (*STATES, *LAYERS, *PASSES, *WRAPPED)
RIGHT = "right"


def title(situation: Situation) -> str:
    """What is done, in words."""
    return (situation.__doc__ or "").partition("\n")[0].rstrip(".")


def verdict(situation: Situation, method: Method, host: str) -> str:
    """ "right", or the words of the refusal. Raises AssertionError where neither is the case."""
    if situation not in GROUPED:
        return _words(situation, method, host)
    with one_process():
        words = _words(situation, method, host)
        gc.collect()  # a sharded model that outlives its process group may hang when it goes
    return words


def _words(situation: Situation, method: Method, host: str) -> str:
    try:
        situation(method, *build_host(host))
    except InputError as refusal:
        return str(refusal.args[0])
    except Exception as error:
        raise AssertionError(f"{method!r} on {host}: {title(situation)}: {error}") from error
    return RIGHT


def check_host(
    method: Method, host: str, situations: Iterable[Situation] = SITUATIONS
) -> dict[str, str]:
    """The verdict of every situation, by its name."""
    return {s.__name__: verdict(s, method, host) for s in situations}
