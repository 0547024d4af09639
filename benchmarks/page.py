"""How long a large study's page takes to build and to open, and its size; one JSON line a figure.

python benchmarks/page.py --methods 20 --seeds 5 --images 10000 --classes 100
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _lines import Lines, add_results

from foldtune.data.identity import data_identity, image_hash
from foldtune.data.store.entries import FORMAT
from foldtune.files import write_json
from foldtune.report.page import write_report
from foldtune.study.results.artefacts import LOGITS, VALIDATION
from foldtune.study.results.logits import write_logits
from foldtune.study.results.store import Store

_SIDE = 64  # pixels of the made-up images


def made(folder: Path, methods: int, seeds: int, images: int, classes: int, trials: int) -> None:
    """A study whose methods share most of their mistakes, and seeds of one method more of them."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, classes, images))
    identity, cache = _pictures(folder / "cache", labels, classes, rng)
    shared = rng.normal(size=(images, classes)).astype(np.float32)
    shared[np.arange(images), labels] += 3
    with Store(folder) as store:
        for m in range(methods):
            own = rng.uniform(0.3, 0.8) * rng.standard_normal(shared.shape, np.float32)
            fixed = {
                "label": f"method{m}", "method": f"Method(rank={m})", "data_identity": identity,
                "data": "made up", "backbone": "made up", "pretrained": True, "classes": classes,
                "trainable": 0 if m == 0 else 1000 * 2**m, "head": 100 * classes,
                "total": 86_000_000, "mergeable": m % 2 == 0, "verdict": "finished",
                "recipe": {"lr": 0.001, "epochs": 50, "weight_decay": 1e-4},
            }  # fmt: skip
            for trial in range(trials):
                found = 0.8 - 0.1 * rng.random()
                curve = [{"epoch": e, "val_accuracy": found * (1 - 0.5**e)} for e in range(1, 51)]
                store.add(
                    {**fixed, "run": f"{m:02d}t{trial:02d}", "stage": "trial", "trial": trial,
                     "seed": 0, "seconds": 30 + rng.random(), "curve": curve,
                     "val_accuracy": found, "val_best_accuracy": found, "val_best_epoch": 50,
                     "recipe": {**fixed["recipe"], "lr": 0.001 + 1e-5 * trial}}
                )  # fmt: skip
            best = max((r for r in store.rows() if r["label"] == fixed["label"]),
                       key=lambda r: r["val_accuracy"])  # fmt: skip
            _keep(
                folder / "runs" / best["run"] / VALIDATION, shared[:500] + own[:500], labels[:500]
            )
            for seed in range(seeds):
                logits = shared + own + 0.3 * rng.standard_normal(shared.shape, np.float32)
                _keep(folder / "runs" / f"{m:02d}f{seed:02d}" / LOGITS, logits, labels)
                store.add(
                    {**fixed, "recipe": best["recipe"], "run": f"{m:02d}f{seed:02d}",
                     "stage": "final", "seed": seed, "seconds": 40 + rng.random(),
                     "test_accuracy": float((logits.argmax(1) == labels).mean()),
                     "test_images": images}
                )  # fmt: skip
        store.write_description({"data": "made up", "backbone": "made up", "pixels": str(cache)})


def _keep(path: Path, logits: np.ndarray, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_logits(torch.from_numpy(logits), labels, np.arange(len(labels)), path)


def _pictures(
    root: Path, labels: np.ndarray, classes: int, rng: np.random.Generator
) -> tuple[str, Path]:
    """An entry of decoded images, as the store writes them."""
    coarse = rng.integers(0, 255, (len(labels), 8, 8, 3), dtype=np.uint8)
    pixels = coarse.repeat(_SIDE // 8, 1).repeat(_SIDE // 8, 2)
    hashes = [image_hash(one) for one in pixels]
    geometry, names = [_SIDE, "squash", "bicubic"], [f"class {k}" for k in range(classes)]
    identity = data_identity(hashes, labels.tolist(), names, geometry)
    entry = root / identity
    entry.mkdir(parents=True)
    pixels.tofile(entry / "pixels.raw")
    write_json(entry / "entry.json", {"format": FORMAT, "identity": identity, "geometry": geometry,
               "classes": names, "labels": labels.tolist(), "hashes": hashes})  # fmt: skip
    return identity, entry


def opened(page: Path, drawn: bool) -> float | None:
    """Seconds until Chromium, started anew, has loaded the page, or has `drawn` its charts too,
    beyond those for an empty page; None without Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    # Its clock leaps to the next timer, here 20 ms away, whenever nothing is left to do.
    budget = ["--virtual-time-budget=20000"] if drawn else []
    patient = "<script>setInterval(() => {}, 20);</script></body>" if drawn else "</body>"
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync",
                   "--disable-background-networking", "--disable-component-update",
                   f"--user-data-dir={profile}", *budget, "--dump-dom"]  # fmt: skip
        took = []
        file = Path(profile) / "page.html"
        for text in ("<html><body></body></html>", page.read_text()):
            file.write_text(patient.join(text.rsplit("</body>", 1)))
            start = time.perf_counter()
            done = subprocess.run(
                [*command, file.as_uri()], capture_output=True, check=True, timeout=300, text=True
            )
            took.append(time.perf_counter() - start)
        if drawn and done.stdout.count('class="marks"') != text.count('class="chart"'):
            raise RuntimeError("Chromium ended before every chart was drawn")
    return took[1] - took[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("methods", 20), ("seeds", 5), ("images", 10_000), ("classes", 100)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--keep", type=Path, help="a folder for the study, kept")
    add_results(parser)
    asked = parser.parse_args()
    lines = Lines("page", asked)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary) / "study"
        if not (folder / "rows.jsonl").exists():
            made(folder, asked.methods, asked.seeds, asked.images, asked.classes, asked.trials)
        start, busy = time.perf_counter(), time.process_time()
        page = write_report(folder)
        told: dict[str, tuple[float | None, str]] = {
            "made, clock": (time.perf_counter() - start, "s"),
            "made, processor": (time.process_time() - busy, "s"),
            "size": (page.stat().st_size / 1e6, "MB"),
            "peak memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "MB"),
        }
        for name, drawn in (("loaded", False), ("loaded and all drawn", True)):
            told[name] = (opened(page, drawn), "s")
        sizes = {k: getattr(asked, k) for k in ("methods", "seeds", "images", "classes", "trials")}
        for figure, (value, unit) in told.items():
            lines.tell(figure, value, unit, **sizes)


if __name__ == "__main__":
    main()
