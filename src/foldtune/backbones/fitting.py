"""A checkpoint's tensors under the names and in the shapes of a host: prefix off, resampled, and
what read RGB spread over other channels.

What the first layer learnt of red, green and blue is given to the new channels in turn, scaled so
that its sums stay as large, as timm does (`in_chans`); one channel takes the sum of the three. Mean
and std, which timm leaves to the user, are given to them in the same way; one channel takes the
mean of the three.
"""

from __future__ import annotations

import difflib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from foldtune.backbones.checkpoint import Checkpoint
from foldtune.core.tensors import check_finite
from foldtune.errors import InputError

log = logging.getLogger("foldtune")

MOST = 64  # channels; more are a slip of the pen, or a cube that wants another network
_RGB = 3
_COUNTER = "num_batches_tracked"
# Of two networks in one file, the averaged one.
_AVERAGED = ("teacher", "ema")


@dataclass(frozen=True)
class Fitted:
    """state: tensors by the host's names, its classifier's only where the file has one that fits
    its inputs. notes: what was done to the file, for people; empty where it fitted as it was."""

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()

    def classes(self, head: Sequence[str]) -> int:
        """The number of classes of the file's classifier; 0 where there is none."""
        rows = [self.state[f"{p}.weight"] for p in head if f"{p}.weight" in self.state]
        return int(rows[0].shape[0]) if rows else 0


def fit_to(
    model: nn.Module, found: Checkpoint, path: str | Path, head: Sequence[str] = ()
) -> Fitted:
    """What `found` holds for `model`; the classifiers at `head` may be absent, or of other classes.

    Taken off is the one prefix under which most names are the host's; names and position embeddings
    go through the host's own `checkpoint_filter_fn` where that makes more of them fit. Counters of
    BatchNorm that older versions did not write are 0. What belongs to no part of the host (a
    decoder, a projector) is left out. Raises InputError, naming the first difference, for anything
    else, and for values that are not finite.
    """
    mine = model.state_dict()
    state, prefix, filtered = _best(model, found.state, mine)
    made = adapt_channels(state, mine)
    spread = [n for n in state if made[n] is not state[n]]
    state = made
    heads = tuple(f"{p}." for p in head)
    kept = {n: state[n] for n in mine if n in state and not n.startswith(heads)}
    classifier = _classifier(state, mine, heads)
    missing = [n for n in mine if n not in kept and not n.startswith(heads)]
    counters = [n for n in missing if n.endswith(_COUNTER)]
    strange = [n for n in state if n not in mine and not n.startswith(heads)]
    parts = {n.partition(".")[0] for n in mine}
    wrong = [n for n in mine if n in kept and kept[n].shape != mine[n].shape]
    wrong += [n for n in missing if n not in counters]
    wrong += [n for n in strange if n.partition(".")[0] in parts]
    if wrong:
        first = min(wrong, key=lambda n: list(mine).index(n) if n in mine else len(mine))
        raise _difference(first, state, mine, type(model).__name__, path)
    kept |= classifier
    check_finite(kept, f"{path} is damaged", "give other weights")
    told = [f"took {' > '.join(found.taken)}"] if found.taken else []
    told += [f"without the prefix {prefix}"] if prefix else []
    told += [f"through the host's own {filtered}"] if filtered else []
    if spread:
        told.append(f"spread {', '.join(spread)} over {mine[spread[0]].shape[1]} channels")
    told += [f"counters of {len(counters)} norms set to 0"] if counters else []
    unread = [n for n in state if n not in kept]
    told += [f"left out {len(unread)}, such as {unread[0]}"] if unread else []
    if told:
        told.append(f"{len(kept)} of {len(mine)} tensors")
    kept |= {n: torch.zeros(mine[n].shape, dtype=mine[n].dtype) for n in counters}
    return Fitted({n: kept[n] for n in mine if n in kept}, tuple(told))


def tell(fitted: Fitted, path: str | Path) -> None:
    """Log what was done to the file, in one line."""
    if fitted.notes:
        log.warning("%s: %s", Path(path).name, ", ".join(fitted.notes))


def _best(
    model: nn.Module, state: Mapping[str, Tensor], mine: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str, str]:
    """The tensors by the names that fit best, the prefix taken off, the function that helped."""
    prefix = _prefix(state, mine)
    bare = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
    best, score, helped = bare, _score(bare, mine), ""
    convert = getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is None or score == 2 * len(mine):
        return best, prefix, helped
    for given, off in ((bare, prefix), (dict(state), "")):
        try:
            made = {n: t for n, t in convert(dict(given), model).items() if isinstance(t, Tensor)}
        except Exception:
            continue
        if _score(made, mine) > score:
            best, score, helped, prefix = made, _score(made, mine), convert.__name__, off
    return best, prefix, helped


def _prefix(state: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> str:
    """The dotted prefix under which most of the host's names are found; mostly none."""
    counts: dict[str, int] = {}
    for name, tensor in state.items():
        words = name.split(".")
        for i in range(len(words)):
            rest = ".".join(words[i:])
            if rest in mine:
                before = name.removesuffix(rest)
                same = mine[rest].shape == tensor.shape
                counts[before] = counts.get(before, 0) + 1 + same
    if not counts:
        return ""
    most = max(counts.values())
    best = [p for p, n in counts.items() if n == most]
    return next((p for p in best if any(a in p for a in _AVERAGED)), best[0])


def _score(state: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> int:
    return sum(1 + (t.shape == mine[n].shape) for n, t in state.items() if n in mine)


def _classifier(
    state: Mapping[str, Tensor], mine: Mapping[str, Tensor], heads: tuple[str, ...]
) -> dict[str, Tensor]:
    """The file's classifier, where it has every tensor and reads what the host's does."""
    wanted = [n for n in mine if heads and n.startswith(heads)]
    fits = all(n in state and state[n].shape[1:] == mine[n].shape[1:] for n in wanted)
    sizes = {len(state[n]) for n in wanted} if fits else set()
    return {n: state[n] for n in wanted} if len(sizes) == 1 else {}


def _difference(
    name: str, state: Mapping[str, Tensor], mine: Mapping[str, Tensor], host: str, path: str | Path
) -> InputError:
    here = tuple(mine[name].shape) if name in mine else "absent"
    there = tuple(state[name].shape) if name in state else "absent"
    near = difflib.get_close_matches(name, [n for n in state if n not in mine], n=2, cutoff=0.5)
    hint = f"; nearest in the file: {', '.join(near)}" if near and name not in state else ""
    fitting = sum(n in state and state[n].shape == t.shape for n, t in mine.items())
    return InputError(
        f"{path} does not fit {host}; the first difference is {name}: {there} in the file, {here} "
        f"in the model ({fitting} of {len(mine)} tensors fit){hint}"
    )


def check_channels(channels: int | None) -> None:
    """Raise InputError for a number of channels that no image has."""
    if channels is not None and not 1 <= channels <= MOST:
        raise InputError(f"channels is {channels}; give a number from 1 to {MOST}")


def spread(rgb: tuple[float, ...], channels: int | None) -> tuple[float, ...]:
    """Mean or std of red, green and blue, for `channels`."""
    if channels is None or channels == len(rgb):
        return rgb
    if channels == 1:
        return (sum(rgb) / len(rgb),)
    return tuple(rgb[i % len(rgb)] for i in range(channels))


def adapt_channels(state: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with kernels that read RGB made to read as many channels as those of `mine`.

    Adapted is what is a kernel (out, 3, height, width) in `state` and the same but for its second
    axis in `mine`, the state of the host. All else is as it was, and a difference is for who loads
    it to tell.
    """
    from timm.models._manipulate import adapt_input_conv

    made = dict(state)
    for name, there in state.items():
        here = mine.get(name)
        if here is None or there.ndim != 4 or there.shape[1] != _RGB or here.shape == there.shape:
            continue
        if here.ndim == 4 and here[:, 0].shape == there[:, 0].shape:
            made[name] = adapt_input_conv(here.shape[1], there)
    return made
