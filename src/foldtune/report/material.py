"""Everything a report is computed from: a study's rows, its stored logits, results put beside it.

Read lazily and once, so that a section asks for what it needs and pays for nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foldtune import gate
from foldtune.analysis.bootstrap import resamples
from foldtune.analysis.decision import Decision
from foldtune.analysis.leaderboard import leaderboard
from foldtune.analysis.panel import Panel
from foldtune.analysis.row import Description, Row, Standing
from foldtune.console import say
from foldtune.errors import InputError
from foldtune.report.charts import colours
from foldtune.study.results import rowgate
from foldtune.study.results.artefacts import Altered
from foldtune.study.results.pictures import Pictures, find_pictures
from foldtune.study.results.predictions import Predictions, read_predictions
from foldtune.study.results.store import Store
from foldtune.tasks.metrics import DEFAULT


@dataclass(frozen=True, eq=False)
class Material:
    """rows: of the study, at least one; asked: its description; wise, shifts: files with the JSON
    of `foldtune wise` and of `foldtune eval --shift`, beside those in the study's folders of these
    names; cache: where decoded images are looked for."""

    folder: Path
    rows: Sequence[Row]
    asked: Description
    wise: tuple[Path, ...] = ()
    shifts: tuple[Path, ...] = ()
    cache: Path | None = None

    @classmethod
    def read(cls, folder: Path, **more: Any) -> Material:
        """Raises InputError where nothing has finished."""
        store = Store(folder)
        store.read_seal()  # raises where rows were lost
        rows = readable(rowgate.readable(store.rows(), Path(folder)))
        if not rows:
            raise InputError(
                f"{folder} has no finished run to report (no rows.jsonl, or an empty one)"
            )
        return cls(Path(folder), rows, readable(store.description()), **more)

    @cached_property
    def board(self) -> list[Standing]:
        found = self.predictions
        return leaderboard(self.rows, self.ties) if found is None else found.board

    @property
    def decision(self) -> Decision | None:
        """What the test images tell apart; None where there are no predictions."""
        return None if self.predictions is None else self.predictions.decision

    @property
    def ties(self) -> str:
        """The rule by which the study's search separates trials of equal accuracy."""
        return self.asked.get("ties") or "small"

    @property
    def metric(self) -> str:
        """What chooses: accuracy, or what rows name."""
        return next((entry["metric"] for entry in self.board), DEFAULT)

    @cached_property
    def palette(self) -> dict[str, str]:
        return colours(self.rows)

    @cached_property
    def best(self) -> Standing | None:
        return next((entry for entry in self.board if entry["winner"]), None)

    @property
    def validation(self) -> int | None:
        """How many images the methods were chosen on."""
        images = self.asked.get("images")
        return images.get("val") if isinstance(images, dict) else None

    @property
    def predictions(self) -> Predictions | None:
        """The stored logits; None where there are none that can be read together (`missing`)."""
        return self._predictions if isinstance(self._predictions, Predictions) else None

    @property
    def missing(self) -> str:
        """Why there are no predictions, in words."""
        return "" if isinstance(self._predictions, Predictions) else self._predictions

    @cached_property
    def panel(self) -> Panel | None:
        return None if self.predictions is None else self.predictions.panel

    @property
    def groups(self) -> np.ndarray | None:
        """See `Predictions`."""
        return None if self.predictions is None else self.predictions.groups

    @cached_property
    def counts(self) -> np.ndarray:
        """The resamples of the test images behind every interval of the page."""
        assert self.panel is not None
        return resamples(len(self.panel.labels), groups=self.groups)

    @property
    def images(self) -> np.ndarray:
        """Of each test image its row in the data."""
        assert self.predictions is not None
        return self.predictions.images

    @cached_property
    def pictures(self) -> Pictures:
        """The images of the study, as far as they are found."""
        identity = self.rows[0].get("data_identity")
        return find_pictures(self.folder, self.asked, identity, self.cache)

    def results(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The JSON results of a kind, "wise" or "shift", each with its file's name as label.

        A file found in the study that holds none is said and left out: it may be about to be
        written. Raises InputError for one that was named.
        """
        given = self.wise if kind == "wise" else self.shifts
        found = []
        for path in sorted((self.folder / kind).glob("*.json")):
            try:
                found.append((path, _json(path, kind)))
            except InputError as error:
                say(f"left out of the page: {error}")
        found += [(path, _json(path, kind)) for path in map(Path, given)]
        return [(readable(path.stem), result) for path, result in found]

    @cached_property
    def _predictions(self) -> Predictions | str:
        try:
            found = read_predictions(self.folder)
        except Altered:  # a page of what is left would show other figures than the study has
            raise
        except InputError as error:
            said: str = readable(str(error))
            return said
        named = {readable(name): group for name, group in found.panel.runs.items()}
        return replace(
            found,
            panel=replace(found.panel, runs=named),
            rows=self.rows,
            validation={readable(name): one for name, one in found.validation.items()},
        )


def readable(value: Any) -> Any:
    """The value without lone surrogates (a file name that is no text), which UTF-8 cannot write."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def _json(path: Path, kind: str) -> dict[str, Any]:
    verb = "foldtune wise" if kind == "wise" else "foldtune eval --shift"
    try:
        found = gate.parse_file(path)
    except (OSError, InputError) as error:
        raise InputError(f"{path} is no JSON ({error}); write it by {verb} ... --json") from None
    rows = found.get("rows" if kind == "wise" else "shifts") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is not what {verb} ... --json prints; write it again")
    if rows and "home" not in rows[0]:
        raise InputError(
            f"{path} holds figures over images that were trained on (--include-trained), which are "
            f"no test figures; write it by {verb} ... --json without"
        )
    cleaned: dict[str, Any] = readable(found)
    return cleaned
