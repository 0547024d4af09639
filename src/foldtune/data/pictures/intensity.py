"""What samples of more than 8 bits mean: the range of values that becomes black to white.

A sensor of 12 bits fills a sixteenth of the 16 bits that its files have, a CT less: read by the
file's full range such a set is a few grey levels. Nor may each image be stretched by its own range:
brightness would no longer compare. So the range is the set's, measured over all its wide images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foldtune.errors import InputError

OWN, PERCENTILE, HEADER = "own", "percentile", "header"
SETTINGS = (OWN, PERCENTILE, HEADER)
FULL = 65535  # what 16 bits hold
# What the store holds of a channel, and the value that is white there.
BYTES, WORDS, FLOATS = "uint8", "uint16", "float32"
WHITE: Mapping[str, float] = {BYTES: 255, WORDS: FULL, FLOATS: 1}
Range = tuple[float, float]
Setting = str | Range
_POINTS = 128  # quantiles kept of an image
_SAMPLES = 1 << 16  # samples of an image, evenly spread, of which quantiles are taken
_TAILS = 0.005  # share of the samples that each end of the percentile range leaves out
_USED = 0.25  # share of a range that the samples but for their tails must fill


@dataclass(frozen=True)
class Span:
    """The values of one image: lowest, highest, and quantiles at (i + 0.5) / 128. whole: numbers
    are whole, of at most 16 bits in their file."""

    low: float
    high: float
    points: tuple[float, ...]
    whole: bool

    @classmethod
    def of(cls, samples: np.ndarray) -> Span:
        """The span of samples of any shape; what is not finite does not count."""
        flat = samples.reshape(-1)
        whole = flat.dtype.kind in "iu"
        if not whole:
            flat = flat[np.isfinite(flat)]
        if not len(flat):
            return cls(0.0, 0.0, (0.0,) * _POINTS, whole)
        some = np.sort(flat[:: max(1, len(flat) // _SAMPLES)])
        places = ((np.arange(_POINTS) + 0.5) / _POINTS * len(some)).astype(int)
        points = tuple(some[places].astype(float).tolist())
        return cls(float(flat.min()), float(flat.max()), points, whole)

    def json(self) -> list[Any]:
        return [self.low, self.high, list(self.points), self.whole]

    @classmethod
    def read(cls, told: Sequence[Any]) -> Span:
        return cls(told[0], told[1], tuple(told[2]), told[3])


@dataclass(frozen=True)
class Measured:
    """What a set's wide images hold, and how they are read. images: how many; low, high: the least
    and the largest value; middle: where all but 1 % of the samples lie; taken: the range that
    becomes 0..255, None: the file's own full one."""

    images: int
    low: float
    high: float
    middle: Range
    whole: bool
    taken: Range | None

    @property
    def depth(self) -> str:
        """What holds all that these images tell: 16 bits for whole numbers, else floats."""
        return WORDS if self.whole else FLOATS

    def json(self) -> dict[str, Any]:
        return {
            "images": self.images, "lowest": self.low, "highest": self.high,
            "middle": list(self.middle), "read_as": list(self.taken) if self.taken else HEADER,
        }  # fmt: skip

    def lines(self, setting: Setting) -> list[str]:
        """What is said of it."""
        used = f"{_plain(self.low)}..{_plain(self.high)}"
        head = f"{self.images} images have more than 8 bits and use {used}"
        if self.taken is None:
            if not _is_crushed((self,)):
                return []
            full = f" of {FULL}" if self.whole else ""
            share = (self.high - self.low) / (FULL if self.whole else 1)
            return [f"{head}{full}, {share:.2g} of the file's range, so they are nearly flat; "
                    "without --range header they are read by their own range"]  # fmt: skip
        taken = f"{_plain(self.taken[0])}..{_plain(self.taken[1])}"
        clipped = ", so what lies beyond is clipped" if self._clips() else ""
        how = "" if not isinstance(setting, str) else "; the identity states it"
        return [f"{head}: read as {taken}{clipped}{how}"]

    def _clips(self) -> bool:
        assert self.taken is not None
        return self.taken[0] > self.low or self.taken[1] < self.high


def check_setting(setting: Setting) -> Setting:
    """A range to read by, refused where it is none. LOW HIGH may come as text."""
    if isinstance(setting, str):
        if setting not in SETTINGS:
            raise InputError(
                f"range {setting!r} is none; give LOW HIGH, or one of {', '.join(SETTINGS)}"
            )
        return setting
    low, high = (float(value) for value in setting)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"range {low:g} {high:g} does not rise; give LOW HIGH, such as 0 4095")
    return low, high


def parse_setting(words: Sequence[str]) -> Setting:
    """The setting of one word or of two numbers; of none, the usual."""
    if len(words) != 2:
        return check_setting(" ".join(words) or OWN)
    try:
        return check_setting((float(words[0]), float(words[1])))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"range {' '.join(words)!r} is no LOW HIGH, such as 0 4095") from None


def as_setting(given: Setting | Sequence[str] | None) -> Setting:
    """The setting of a name, of two numbers, or of a terminal's words; None: own."""
    if given is None or isinstance(given, str):
        return check_setting(given or OWN)
    return parse_setting([word if isinstance(word, str) else repr(float(word)) for word in given])


def measure(spans: Sequence[Span], setting: Setting) -> Measured | None:
    """How a set with these wide images is read; None where there is none.

    own: by the file's full range (65,535; floats by 1 or by 255) where the samples fill a quarter
    of it, else by the set's own, without tails of 0.5 % where these alone spread it fourfold.
    """
    if not spans:
        return None
    low, high = min(s.low for s in spans), max(s.high for s in spans)
    pooled = np.sort(np.concatenate([s.points for s in spans]))
    ends = (int(_TAILS * len(pooled)), int((1 - _TAILS) * len(pooled)))
    middle = (float(pooled[ends[0]]), float(pooled[min(ends[1], len(pooled) - 1)]))
    whole = all(s.whole for s in spans)
    if not isinstance(setting, str):
        return Measured(len(spans), low, high, middle, whole, setting)
    taken: Range | None = None
    if setting == PERCENTILE:
        taken = _rising(*middle, low, high)
    elif setting == OWN and _is_crushed(spans):
        narrow = middle[1] - middle[0] < _USED * (high - low) and middle[1] > middle[0]
        taken = middle if narrow else _rising(low, high, low, high)
    return Measured(len(spans), low, high, middle, whole, taken)


def _rising(low: float, high: float, least: float, most: float) -> Range:
    if low < high:
        return low, high
    return (least, most) if least < most else (least, least + 1)


def _is_crushed(spans: Sequence[Span | Measured]) -> bool:
    """Whether the file's full range is hardly used, or left."""
    low, high = min(s.low for s in spans), max(s.high for s in spans)
    if all(s.whole for s in spans):
        full = float(FULL)
    elif not any(s.whole for s in spans) and (high <= 1 or min(s.high for s in spans) > 1):
        full = 1.0 if high <= 1 else 255.0
    else:  # each image by another rule
        return True
    pooled = [p for s in spans for p in (s.points if isinstance(s, Span) else s.middle)]
    ends = np.quantile(pooled, (_TAILS, 1 - _TAILS))
    return bool(low < 0 or high > full or ends[1] - ends[0] < _USED * full)


def scale_samples(samples: np.ndarray, taken: Range, depth: str = BYTES) -> np.ndarray:
    """Samples at a depth: the range's ends are its ends (0 and 255, 65,535 or 1.0), what lies
    beyond is clipped."""
    low, high = taken
    if samples.dtype == np.uint16:  # by a table: it holds what comes out, arithmetic eight bytes
        table: np.ndarray = _scale_values(np.arange(FULL + 1), low, high, depth)[samples]
        return table
    return np.concatenate([_scale_values(rows, low, high, depth) for rows in np.array_split(
        samples, max(1, samples.size >> 22))])  # fmt: skip


def _scale_values(values: np.ndarray, low: float, high: float, depth: str) -> np.ndarray:
    real = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    share = np.clip((real - low) / (high - low), 0, 1)
    if depth == FLOATS:
        return share.astype(np.float32)
    whole: np.ndarray = (share * WHITE[depth] + 0.5).astype(depth)
    return whole


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels of any depth as uint8, to be looked at."""
    if pixels.dtype == np.uint8:
        return pixels
    eight: np.ndarray = (pixels * (255 / WHITE[pixels.dtype.name]) + 0.5).astype(np.uint8)
    return eight


def read_setting(told: Mapping[str, Any]) -> Setting:
    """The setting that repeats how described data was read: its range, or the file's."""
    taken = told.get("range")
    return (taken[0], taken[1]) if isinstance(taken, list | tuple) else HEADER


def deeper(told: Mapping[str, Any]) -> dict[str, str]:
    """What a description says of the depth at which data was read, where it is not 8 bits."""
    return {} if depth_of(told) == BYTES else {"depth": depth_of(told)}


def depth_of(told: Mapping[str, Any]) -> str:
    """At which depth described data was read: 8 bits where it is not told, as by an earlier
    foldtune."""
    depth = told.get("depth")
    return depth if isinstance(depth, str) and depth in WHITE else BYTES


def _plain(value: float) -> str:
    return f"{value:.6g}"
