"""Random made-up studies, and all that is said of one read back: page, JSON, analyse."""

import html
import re

import fake
import numpy as np
import torch

from foldtune.analysis.decision import IMAGES
from foldtune.report.page import write_report
from foldtune.report.verdict import pair_sentence, verdict
from foldtune.study.results.analyses import analyse
from foldtune.study.results.artefacts import LOGITS
from foldtune.study.results.logits import write_logits
from foldtune.study.results.predictions import judged_board
from foldtune.study.results.store import Store

CLASSES = 3
NAMES = ("Ash", "Birch", "Cedar", "Elm", "Fir", "Hazel", "Larch", "Oak")


def write_random(folder, seed):
    """A study of 2 to 8 methods, 1 to 4 seeds each, 20 to 400 test images."""
    rng = np.random.default_rng([19, seed])
    images, most = int(rng.choice([20, 60, 150, 400])), int(rng.integers(1, 5))
    uneven = rng.random() < 0.3
    methods = [
        (name, f"{name}()", int(rng.integers(0, 10_000)), True, float(rng.uniform(0.5, 0.9)))
        for name in NAMES[: rng.integers(2, 9)]
    ]
    labels = rng.integers(0, CLASSES, images)
    hard = rng.normal(size=images)
    level = {name: (rng.uniform(-0.5, 1.5) * rng.choice([0.1, 1]), rng.normal(size=images) / 2)
             for name, *_ in methods}  # fmt: skip
    kept = {name: int(rng.integers(1, most + 1)) if uneven else most for name, *_ in methods}
    with Store(folder) as store:
        for row in fake.rows(methods, trials=2, seeds=most, images=images, classes=CLASSES):
            if row["stage"] == "final":
                if row["seed"] >= kept[row["label"]]:
                    continue
                its, own = level[row["label"]]
                right = hard + own + its + rng.normal() / 10 + rng.normal(size=images) / 2 > 0
                predicted = np.where(right, labels, (labels + 1) % CLASSES)
                row["test_accuracy"] = float(right.mean())
                (folder / "runs" / row["run"]).mkdir(parents=True)
                logits = torch.from_numpy(5 * np.eye(CLASSES, dtype=np.float32)[predicted])
                path = folder / "runs" / row["run"] / LOGITS
                write_logits(logits, labels, np.arange(images), path)
            store.add(row)
        about = {"data": "trees", "backbone": "micro", "images": {"val": 200}}
        if rng.random() < 0.3:
            about["alike"] = [[0, 1, 2], [5, 9]]
        store.write_description(about)
    return folder


def contradictions(folder):
    """What is said of a study twice and not alike, in words; none is right."""
    board, decision = judged_board(folder)
    page = read_page(write_report(folder).read_text())
    told = analyse(folder, draws=5)
    pairs = {(p["a"], p["b"]): p for p in told["decision"]["pairs"]}
    chosen = next(entry["label"] for entry in board if entry["winner"])
    best = {entry["label"] for entry in board if entry["may_be_best"]}
    said = " ".join(verdict(board, decision, 200))
    wrong = []

    def check(what, one, other):
        if one != other:
            wrong.append(f"{folder.name}: {what}: {one} and {other}")

    check("chosen", page["chosen"], chosen)
    check("headline and json", page["result"].count(said), 1)
    check("best in words and on the board", page["best"], best)
    check("best in the table", {n for n, row in page["ranks"].items() if row[3] == "yes"}, best)
    check("best in analyse", {r["method"] for r in told["decision"]["methods"] if r["may_be_best"]},
          best)  # fmt: skip
    for entry in board:
        name = entry["label"]
        check("badge", page["badges"][name].removeprefix("this run is "),
              {"chosen": "chosen on validation", "alike": "cannot be told apart"}.get(
                  entry["against"], entry["against"]))  # fmt: skip
        check("ranks", page["ranks"][name][2], f"{entry['rank_low']} to {entry['rank_high']}")
        if name == chosen:
            continue
        pair = pairs.get((name, chosen)) or pairs[chosen, name]
        up = (pair["difference"]["value"] > 0) == (pair["a"] == name)
        kind = ("better" if up else "worse") if pair["apart"] else "alike"
        check("pair and badge", kind, entry["against"])
        check("pair and words", {k for k, names in page["relations"].items() if name in names},
              {kind})  # fmt: skip
    for key, pair in pairs.items():
        row = page["pairs"][key]
        beyond = pair["difference"]["low"] > 0 or pair["difference"]["high"] < 0
        check("interval and verdict", beyond, pair["apart"])
        check("p and verdict", pair["p"] < 0.05, pair["apart"])
        check("table and json", row[-1] == "yes", pair["apart"])
        check("p as it is shown", row[1].startswith("<") or float(row[1]) < 0.05, pair["apart"])
    check("counted", page["counted"], (sum(p["apart"] for p in pairs.values()), len(pairs)))
    one_seed = decision.covers == IMAGES
    check("one seed judges tunings", "distinguishable" in page["text"], not one_seed)
    check("one seed is said", "cannot be told from one seed" in page["result"], one_seed)
    for pair in decision.pairs:
        words = pair_sentence(decision, pair)
        check("a pair in words", "cannot be told apart" not in words, pair.apart)
        check("better of methods", " is better than " in words, pair.apart and not one_seed)
    return wrong


def read_page(text):
    """What the page says, from its words and tables alone."""
    result = plain(re.search(r'aria-label="Result">(.*?)</section>', text, re.DOTALL)[1])
    body = plain(re.sub(r"<script.*?</script>|<style.*?</style>", "", text, flags=re.DOTALL))
    found = {
        "result": result,
        "text": body,
        "chosen": re.search(r"(\w+) is chosen: with", result)[1],
    }
    who = r"(Any of the \d+ methods|[\w, ]+?)"
    some = re.search(
        rf"(?:^|[.)] ){who} (?:may be|is the) best(?: of these tunings)? \(95 %\)", result
    )[1]
    rows = [cells(row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    board = re.search(r'<table class="board">(.*?)</table>', text, re.DOTALL)[1]
    found["badges"] = {
        plain(re.search(r"</i>(.*?)<small>", row, re.DOTALL)[1]):
            plain(re.search(r'class="against">(.*?)</td>', row, re.DOTALL)[1])
        for row in re.findall(r"<tr.*?</tr>", board, re.DOTALL) if "against" in row
    }  # fmt: skip
    found["best"] = set(found["badges"]) if some.startswith("Any") else names(some)
    rows = [row for row in rows if row and row[0] in found["badges"] and row[-1] in ("yes", "no")]
    found["ranks"] = {row[0]: row[1:] for row in rows if len(row) == 5}
    found["pairs"] = {(row[0], row[1]): row[2:] for row in rows if len(row) == 6}
    it = re.escape(found["chosen"])
    found["relations"] = {
        "worse": names(_first(rf"{it} is better than ([\w, ]+)\.", result)),
        "better": names(
            _first(rf"[.)] ([\w, ]+) (?:is|are) better than (?:this )?{it}, which", result)
        ),
        "alike": names(
            _first(rf"{it} cannot be told apart from ([\w, ]+?)(?:, of which|\.)", result)
        ),
    }
    found["counted"] = tuple(map(int, re.search(r"(\d+) of (\d+) pairs of", result).groups()))
    return found


def _first(pattern, text):
    found = re.search(pattern, text)
    return found[1] if found else ""


def names(text):
    return set(re.split(r", | and ", text)) - {""}


def cells(row):
    return [plain(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]


def plain(text):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
