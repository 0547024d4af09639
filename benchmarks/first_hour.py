"""Play a stranger's first hour and keep every output: README's lines, the notebooks, a real set.

    python benchmarks/first_hour.py --out first-hour [--data FLOWERS.zip] [--notebooks]

Each step is a file NN-name.txt in --out with the command, its exit code, its seconds and all that
it printed, to be read by a person. --data: a set for the command line, a folder or a .zip; without,
the digits. --notebooks: run those of docs/notebooks in Jupyter's kernel too (extra `docs`), and
keep them with their outputs. One JSON line a step goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FEW = "--size 32 --shots 8 --epochs 2"


def steps(data: str, out: Path) -> list[tuple[str, str]]:
    """Names and commands, in the order in which a stranger comes to them."""
    study, tuning = out / "study", out / "fit/tuning.safetensors"
    where = shlex.quote(data)
    return [
        ("help", "foldtune"),
        ("fit-help", "foldtune fit --help"),
        ("misspelt-model", "foldtune inspect vit_smal_patch16_224"),
        ("misspelt-method", f"foldtune fit {where} --method Lora --out {out / 'x'}"),
        ("data-check", f"foldtune data check {where}"),
        ("data-card", f"foldtune data card {where}"),
        ("inspect", 'foldtune inspect micro --method "SSF()" --classes 12'),
        ("advise", f"foldtune advise {where} {_FEW.replace('--epochs 2', '')}"),
        ("fit", f"foldtune fit {where} {_FEW} --method BitFit --out {out / 'fit'}"),
        ("eval", f"foldtune eval {tuning} {where}"),
        ("merge", f"foldtune merge {tuning} --out {out / 'merged.safetensors'}"),
        (
            "compare",
            f"foldtune compare {where} {_FEW} --methods LinearProbe BitFit SSF --trials 1 "
            f"--seeds 2 --out {study}",
        ),
        ("status", f"foldtune status {study}"),
        ("analyse", f"foldtune analyse {study}"),
        ("eval-best", f"foldtune eval {study / 'best.safetensors'} {where}"),
        ("wise", f"foldtune wise {tuning} {where} --alphas 0 0.5 1"),
    ]


def played(number: int, name: str, command: str, out: Path) -> dict[str, object]:
    """Run a command and keep what it printed; a line about it."""
    words = [sys.executable, "-m", *shlex.split(command)]
    begun = time.perf_counter()
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}
    )
    seconds = round(time.perf_counter() - begun, 2)
    head = f"$ {command}\nexit {done.returncode}, {seconds} s\n\n"
    said = f"-- standard output\n{done.stdout}\n-- standard error\n{done.stderr}"
    (out / f"{number:02d}-{name}.txt").write_text(head + said, encoding="utf-8")
    return {"step": name, "exit": done.returncode, "seconds": seconds}


def run_notebooks(out: Path) -> None:
    """Each notebook in a kernel of its own, kept with its outputs."""
    import nbclient
    import nbformat

    for path in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        folder = out / path.stem
        folder.mkdir(exist_ok=True)
        notebook = nbformat.read(path, as_version=4)
        begun = time.perf_counter()
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
        nbformat.write(notebook, out / path.name)
        seconds = round(time.perf_counter() - begun, 2)
        print(json.dumps({"step": f"notebook {path.stem}", "seconds": seconds}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--notebooks", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for number, (name, command) in enumerate(steps(asked.data, asked.out), 1):
        print(json.dumps(played(number, name, command, asked.out)), flush=True)
    if asked.notebooks:
        run_notebooks(asked.out)


if __name__ == "__main__":
    main()
