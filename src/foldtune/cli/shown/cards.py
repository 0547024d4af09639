"""What `data card` and `data check` say on a terminal: sentences and short tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foldtune.console import facts, say, table, write

Row = Mapping[str, Any]


def show_card(told: Row) -> None:
    """A set in sentences, its splits as a table, and what is wrong with it."""
    counts = ", ".join(f"{count:,} {name}" for name, count in told["counts"].items())
    write(
        f"{told['name']}: {told['images']:,} images of {told['classes']:,} classes ({counts}), "
        f"splits {told['split_rule']}."
    )
    rows = [
        {
            "split": name,
            "images": told["counts"].get(name),
            "fewest of a class": balance.get("fewest"),
            "most of a class": balance.get("most"),
            "classes without any": balance.get("empty_classes", 0),
            "same picture in train": told["same_as_train"].get(name),
            "near duplicates of train": told["near_duplicates"].get(name, {}).get("images"),
        }
        for name, balance in told["balance"].items()
        if balance
    ]
    if rows:
        table(rows, tuple(rows[0]))
    facts(
        {
            "mean of each colour, 0 to 1": told["mean"],
            "standard deviation": told["std"],
            "pictures under several labels": _short(told["repeated"].get("labels")),
            "pictures in several splits": _short(told["repeated"].get("splits")),
            "left out": _short(told["dropped"]) or _short(told["skipped"]),
            "identity": told["identity"],
            "hash of the splits": told["split_hash"],
        }
    )
    for split, found in told["near_duplicates"].items():
        for judged, train in found["such_as"]:
            write(f"near duplicate: {split} {judged}, train {train}")
    if "examples" in told:
        facts({"examples": told["examples"]})
    for line in told["warnings"]:
        say(f"warning: {line}")


def show_check(rows: Sequence[Row]) -> None:
    """What is there of each part; sizes and formats are of a sample, and say so."""
    first = ("part", "group") if any("group" in row for row in rows) else ("part",)
    shown = (*first, "counts", "classes", "labels", "sizes", "formats", "lossless", "manifest")
    there = [{**row, "manifest": row["manifest"][:12]} for row in rows if "manifest" in row]
    if there:
        table(there, shown)
        looked = [row["looked_at"] for row in there if row["looked_at"] < row["images"]]
        if looked:
            write(
                f"Sizes, formats and whether they are lossless are of {sum(looked):,} files, "
                f"evenly spread over each split, of {sum(row['images'] for row in there):,}; "
                "counts and the manifest are of all."
            )
    for row in rows:
        for line in [*row.get("warnings", ()), *filter(None, [row.get("problem")])]:
            say(line)


def _short(found: Any) -> Any:
    """A number, or how many a collection holds."""
    return len(found) if isinstance(found, Mapping | list | tuple) and found else found or 0
