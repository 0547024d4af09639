"""All trials of a study in an Optuna storage too, for its dashboard and its analyses.

The rows of the study folder are the truth and nothing is read back from here but which of them are
recorded already. One Optuna study a method; each trial's user attributes name its run.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.study.search.journal import journal
from foldtune.study.search.plan import Trial
from foldtune.study.search.spaces import Entrant
from foldtune.training.recipe import Recipe

if TYPE_CHECKING:
    import optuna


JOURNAL = "optuna.journal"


class Record:
    """Writes trials to a storage: a database's URL, or the path of a journal file.

    about: what every trial here has in common (data, backbone); it names the Optuna studies, so
    that several study folders may share a database. Raises InputError for a storage that cannot be
    reached, without its password.
    """

    def __init__(self, storage: str | Path, about: str) -> None:
        self._about, self._place = about, hide_password(storage)
        self._studies: dict[str, tuple[optuna.Study, set[str]]] = {}
        with _as_refusal(self._place):
            self._storage = _open_storage(storage)

    def add(
        self, entrant: Entrant, base: Recipe, trials: Sequence[Trial], rows: Sequence[Row]
    ) -> None:
        """Record trials with their rows; those that are there already stay as they are."""
        import optuna

        from foldtune.study.search.tpe import distributions, parameters

        space = distributions(entrant, base)
        with _as_refusal(self._place):
            study, seen = self._study(entrant.label, repr(space))
            for trial, row in zip(trials, rows, strict=True):
                if row["run"] in seen:
                    continue
                seen.add(row["run"])
                states = optuna.trial.TrialState
                value = row.get("val_accuracy")
                short = trial.stage == "rung"
                state = states.PRUNED if short else states.COMPLETE
                made = optuna.trial.create_trial(
                    state=states.FAIL if value is None else state,
                    value=value,
                    params=parameters(entrant, base, trial.values),
                    distributions=space,
                    user_attrs={
                        **{key: row.get(key) for key in ("run", "method", "stage", "verdict")},
                        "epochs": trial.recipe.epochs,
                        "number": trial.number,
                    },
                    intermediate_values={} if value is None else {trial.recipe.epochs: value},
                )
                study.add_trial(made)

    def _study(self, label: str, space: str) -> tuple[optuna.Study, set[str]]:
        if label not in self._studies:
            import optuna

            # Optuna keeps one space a study, so another space is another study.
            name = f"{self._about} {label} {zlib.crc32(space.encode()):08x}"
            level = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            try:
                study = optuna.create_study(
                    study_name=name, storage=self._storage, direction="maximize",
                    load_if_exists=True,
                )  # fmt: skip
            finally:
                optuna.logging.set_verbosity(level)
            self._studies[label] = study, {t.user_attrs.get("run", "") for t in study.trials}
        return self._studies[label]


def hide_password(storage: str | Path) -> str:
    """The storage as it may be printed and kept: without its password."""
    text = str(storage)
    if "://" not in text:
        return text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(text).render_as_string(hide_password=True)
    except ArgumentError:
        raise InputError(
            "--storage is no database URL; write e.g. postgresql://user@host/base, "
            "sqlite:///file.db, or the path of a journal file"
        ) from None


def _open_storage(storage: str | Path) -> Any:
    import optuna

    text = str(storage)
    if "://" not in text:
        return optuna.storages.JournalStorage(journal(Path(text)))
    kind, rest = text.split("://", 1)
    if kind in ("postgres", "postgresql"):
        # SQLAlchemy's own choice, psycopg2, is under another licence and is not installed.
        text = f"postgresql+pg8000://{rest}"
    return optuna.storages.RDBStorage(text)


@contextmanager
def _as_refusal(place: str) -> Iterator[None]:
    """Whatever fails in a storage becomes one line: its errors are of many libraries."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"{place} needs a driver that is not installed ({error.name}); "
            "for PostgreSQL: pip install pg8000"
        ) from error
    except Exception as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())[:200]
        raise InputError(
            f"trials cannot be recorded in {place} ({reason}); check the URL and that the "
            "server runs, or leave --storage out: rows that are stored stay"
        ) from error
