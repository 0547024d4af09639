"""What the chosen method gets wrong, and where methods disagree: images to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from foldtune.analysis.judgement.doubts import doubtful
from foldtune.report.material import Material, readable
from foldtune.report.section import Section
from foldtune.report.thumbnails import thumbnail
from foldtune.study.results.pictures import Pictures

Row = dict[str, Any]
MOST = 300  # images in the page
SURE = 90  # percent from which on a wrong answer is a sure one
_BYTES = 4 << 20  # of all thumbnails together


def section(study: Material) -> Section | None:
    panel = study.panel
    if panel is None:
        return None
    chosen = _winner_place(study)
    predictions = np.stack([group[0].predictions for group in panel.runs.values()])
    wrong = predictions != panel.labels
    kept = _select_images(predictions, panel.labels, chosen, _confidence(study, chosen))
    if not len(kept):
        return None
    found = study.pictures
    seems = _doubts(study, panel.names[chosen])
    items = _items(study, predictions, kept, found, _confidence(study, chosen), seems)
    classes = readable(list(found.classes)) if len(found.classes) >= panel.classes else []
    shown = {
        "methods": list(panel.names),
        "classes": classes or [f"class {k}" for k in range(panel.classes)],
        "chosen": chosen,
        "sure": SURE,
        "doubtful": any("d" in item for item in items),
        "items": items,
    }
    said = _sentences(wrong, predictions, chosen, panel.names[chosen])
    doubts = sum("d" in item for item in items)
    if doubts:
        told = f"{doubts:,} of these labels are" if doubts > 1 else "One of these labels is"
        said.append(f"{told} doubtful by its probabilities (confident learning).")
    all_of = int((wrong[chosen] | (predictions != predictions[0]).any(0)).sum())
    return Section(
        "wrong",
        f"What {panel.names[chosen]} gets wrong",
        (" ".join((*said, _notes(items, all_of, found))),),
        template="gallery.html",
        context={"shown": shown, "tested": sorted({item["c"] for item in items})},
        summary=" ".join(said),
    )


def _winner_place(study: Material) -> int:
    """The place of the winner among the methods; of a study without one that of the first."""
    assert study.panel is not None
    names = study.panel.names
    label = study.best["label"] if study.best is not None else None
    return names.index(label) if label in names else 0


def _confidence(study: Material, chosen: int) -> np.ndarray:
    """(images,): how sure the chosen method's first seed is of what it says."""
    assert study.panel is not None
    found: np.ndarray = study.panel.runs[study.panel.names[chosen]][0].confidence
    return found


def _doubts(study: Material, name: str) -> dict[int, int]:
    """The test images whose label seems wrong to the chosen method, which trained on none of them,
    and what each seems to be of: confident learning, see `analysis.judgement.doubts`."""
    assert study.panel is not None
    shares = np.mean([member.probabilities for member in study.panel.runs[name]], axis=0)
    found, seems = doubtful(shares, study.panel.labels)
    return dict(zip(found.tolist(), seems.tolist(), strict=True))


def _sentences(wrong: np.ndarray, predictions: np.ndarray, chosen: int, name: str) -> list[str]:
    """How many images are got wrong, by whom. wrong, predictions: (methods, images)."""
    total, missed = wrong.shape[1], int(wrong[chosen].sum())
    said = [f"{name} gets {missed:,} of {total:,} test images wrong."]
    if len(wrong) < 2:
        return said
    none = int(wrong.all(0).sum())
    unlike = int((predictions != predictions[0]).any(0).sum())
    if none:
        said.append(f"{none:,} of them {'are' if none > 1 else 'is'} got wrong by every method.")
    said.append(
        f"On {unlike:,} of {total:,} test images ({100 * unlike / total:.1f} %) at least two "
        "methods predict different classes."
    )
    return said


def _select_images(
    predictions: np.ndarray, labels: np.ndarray, chosen: int, confidence: np.ndarray
) -> np.ndarray:
    """The images in the page: half of the room for what the chosen method is surest of and gets
    wrong, the rest for disagreements; those that it gets wrong first."""
    wrong = np.flatnonzero(predictions[chosen] != labels)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    unlike = spread_out(predictions, labels, MOST)
    room = max(MOST // 2, MOST - len(np.setdiff1d(unlike, wrong)))
    first = wrong[:room]
    rest = unlike[~np.isin(unlike, first)][: MOST - len(first)]
    return np.concatenate([first, rest])


def spread_out(predictions: np.ndarray, labels: np.ndarray, most: int) -> np.ndarray:
    """At most `most` images on which methods disagree, those with the most disagreeing pairs first
    for every pair of methods and every class in turn, so that no filter finds nothing.

    predictions: (methods, images).
    """
    pairs = list(combinations(range(len(predictions)), 2))
    spread = np.zeros(len(labels), int)
    for i, j in pairs:
        spread += predictions[i] != predictions[j]
    order = np.argsort(-spread, kind="stable")
    order = order[spread[order] > 0]
    if len(order) <= most:
        return order
    queues = [order[predictions[i, order] != predictions[j, order]] for i, j in pairs]
    queues += [order[labels[order] == label] for label in np.unique(labels[order])]
    taken: dict[int, None] = {}
    for depth in range(len(order)):
        for queue in queues:
            if depth < len(queue):
                taken.setdefault(int(queue[depth]))
            if len(taken) == most:
                found = np.array(list(taken))
                return found[np.argsort(-spread[found], kind="stable")]
    return order


def _items(
    study: Material,
    predictions: np.ndarray,
    kept: Sequence[int] | np.ndarray,
    found: Pictures,
    confidence: np.ndarray,
    seems: Mapping[int, int],
) -> list[Row]:
    """n: name; c: class; p: each method's prediction; s: how sure the chosen is, in percent; d: the
    class that it seems to be of, where its label is doubtful; t: thumbnail, until their bytes are
    spent."""
    assert study.panel is not None
    rows, spent, items = study.images, 0, []
    for image in kept:
        row = int(rows[image])
        item: Row = {
            "n": readable(found.names.get(row, f"image {row}")),
            "c": int(study.panel.labels[image]),
            "p": predictions[:, image].tolist(),
            "s": round(100 * float(confidence[image])),
        }
        if int(image) in seems:
            item["d"] = seems[int(image)]
        if spent < _BYTES and (drawn := thumbnail(found, row)) is not None:
            item["t"] = drawn
            spent += len(drawn)
        items.append(item)
    return items


def _notes(items: Sequence[Row], all_of: int, found: Pictures) -> str:
    said = "Predictions are those of each method's first seed."
    if len(items) < all_of:
        said += (
            f" The page holds {len(items)} of {all_of:,} such images: what the chosen method is "
            "surest of first, then a spread over pairs of methods and classes."
        )
    if found.pixels is None:
        said += (
            " The decoded images were not found where the study left them, so only names and "
            "labels are shown."
        )
    else:
        said += " A picture is enlarged by a click."
    return said
