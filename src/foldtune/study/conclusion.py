"""The end of a comparison: what its rows say, and the winner merged."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from foldtune.analysis.decision import Decision
from foldtune.analysis.leaderboard import by_validation, configuration
from foldtune.analysis.row import Row, Standing
from foldtune.console import percent
from foldtune.data import ImageData
from foldtune.errors import InputError, Unwritable
from foldtune.files import replacing
from foldtune.shown import Table, frame, html_table
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Say
from foldtune.study.results.artefacts import PAGE, TUNING, of_run
from foldtune.study.results.predictions import judged_board
from foldtune.study.results.store import Store
from foldtune.study.terms.terms import Terms
from foldtune.study.tuned.predict import predict
from foldtune.study.tuned.verbs import Merged, merge
from foldtune.tasks.metrics import DEFAULT
from foldtune.tunings.export.folder import Exported
from foldtune.tunings.tuning import Certificate, merge_tuning

MERGED = "merged.safetensors"
BEST = "best.safetensors"  # the winner's first final run: its tuning, where one finds it


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `compare` found. rows: every run; leaderboard: one entry a method, best test first;
    decision: what the test images tell apart; winner: chosen on validation, None where no trial
    finished; left_out: defaults that cannot stand on this host, and why; merged: the plain state
    dict of the best method that merges."""

    folder: Path
    rows: tuple[Row, ...]
    leaderboard: tuple[Standing, ...]
    decision: Decision | None
    winner: Standing | None
    merged: Path | None
    merged_label: str | None
    certificate: Certificate | None
    left_out: Mapping[str, str]
    data: ImageData = field(repr=False)

    def __repr__(self) -> str:
        if self.winner is None:
            return f"Comparison(no method finished, {self.folder})"
        won = self.winner
        return (
            f"Comparison({won['label']} chosen of {len(self.leaderboard)} methods: validation "
            f"{percent(won['val_accuracy'])}, test {percent(won['test_accuracy'])}, {self.folder})"
        )

    def _repr_html_(self) -> str:
        rows = self._table()
        place = next((i for i, e in enumerate(self.chosen_order()) if e["winner"]), None)
        page = f"<p>The page: {escape(str(self.folder / PAGE))}; foldtune.show(...) opens it.</p>"
        return f"<p>{escape(repr(self))}</p>{html_table(rows, place)}{page}"

    def to_pandas(self) -> Any:
        """The leaderboard as a DataFrame, a row a method, as validation chooses them."""
        plain = [{k: v for k, v in entry.items() if k != "best_after"} for entry in
                 self.chosen_order()]  # fmt: skip
        return frame(plain)

    def chosen_order(self) -> list[Standing]:
        """The leaderboard as validation chooses: the winner first, what was not judged last."""
        judged = [entry for entry in self.leaderboard if entry["val_accuracy"] is not None]
        judged.sort(key=lambda entry: (not entry["winner"], by_validation(entry)))
        return judged + [e for e in self.leaderboard if e["val_accuracy"] is None]

    @property
    def best(self) -> str:
        """The chosen method as one writes it, such as "LoRA(rank=8)". Raises InputError where no
        trial finished."""
        return self._require_winner()["method"]

    def predict(self, images: Sequence[str | Path], **options: Any) -> Table:
        """The class of each image file by the winner's first final run; see `foldtune.predict`."""
        return predict(self._require_tuning(), images, **options)

    def merge(self, out: str | Path, **options: Any) -> Merged | Exported:
        """Write the winner's first final run folded in to `out`; see `foldtune.merge`."""
        found = merge(self._require_tuning(), out=out, **options)
        assert isinstance(found, Merged | Exported)
        return found

    def _require_winner(self) -> Standing:
        if self.winner is None:
            raise InputError(f"no trial of any method in {self.folder} finished; the page says why")
        return self.winner

    def _require_tuning(self) -> Path:
        won, tuning = self._require_winner(), self.tuning
        if tuning is None:
            raise InputError(f"no final run of {won['label']} in {self.folder} has finished")
        return tuning

    def _table(self) -> list[dict[str, Any]]:
        return [
            {
                "method": e["label"],
                "validation": percent(e["val_accuracy"]),
                "test": percent(e["test_accuracy"]),
                "95 % interval": "–" if e["low"] is None or e["high"] is None else
                f"{100 * e['low']:.1f} to {100 * e['high']:.1f}",
                "trained parameters": e["trainable"],
                "settings": e["method"],
            }
            for e in self.chosen_order()
        ]  # fmt: skip

    @property
    def validation(self) -> int:
        """How many images the methods were chosen on."""
        return len(self.data.splits["val"])

    @property
    def metric(self) -> str:
        """What the figures are; "accuracy" where nothing else chooses."""
        return self.leaderboard[0]["metric"] if self.leaderboard else DEFAULT

    @property
    def ledger(self) -> Any:
        """What of the data was read, and what was not."""
        return self.data.facts.get("ledger", {})

    @property
    def tuning(self) -> Path | None:
        """The file of the winner's first final run; None where there is none."""
        there = self.winner is not None and _final(self.rows, self.winner) is not None
        return self.folder / BEST if there else None


def conclude(folder: Path, bench: Bench, terms: Terms, say: Say) -> Comparison:
    """Judge the study's rows and merge the best method that merges."""
    rows = tuple(Store(folder).rows())
    board, decision = judged_board(folder)
    best = next((entry for entry in board if entry["winner"]), None)
    merging = [e for e in board if e["mergeable"] and e["seeds"] and e["val_accuracy"] is not None]
    merging.sort(key=by_validation)
    merged = certificate = None
    if merging:
        final = _final(rows, merging[0])
        assert final is not None  # it has seeds, see above
        try:
            tuning = of_run(folder, final, TUNING).open_checked(folder)
            certificate = merge_tuning(tuning, folder / MERGED, bench.backbone, bench.data)
            merged = folder / MERGED
        except Unwritable:  # a full disk is no property of the method: the next call merges it
            raise
        except InputError as error:  # the rows stand, and so does their report
            say(f"{merging[0]['label']} is not merged: {error}")
    if best is not None and (row := _final(rows, best)) is not None:
        with replacing(folder / BEST) as fresh:
            shutil.copyfile(of_run(folder, row, TUNING).open_checked(folder), fresh)
    label = merging[0]["label"] if merged else None
    return Comparison(
        folder, rows, tuple(board), decision, best, merged, label, certificate, terms.left_out,
        bench.data,
    )  # fmt: skip


def _final(rows: Sequence[Row], entry: Standing) -> Row | None:
    """The first final run of an entry of the leaderboard that finished."""
    finals = (r for r in rows if r["stage"] == "final" and r["verdict"] == "finished")
    return next((row for row in finals if configuration(row) == configuration(entry)), None)
