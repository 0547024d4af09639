"""The hub's own client, over HTTP, sends and fetches what `push` and `hf-hub:` ask of it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.export.folder import export_tuning

from .hub_server import serving

TOKEN = "a-token"
# One process, for each takes seconds to start: sent, found by name, loaded by plain timm, and sent
# again by the verb with a token that the hub does not know.
CODE = """
import contextlib, io, json, os, sys
from pathlib import Path
import foldtune, timm
from foldtune.__main__ import main
from foldtune.errors import InputError
from foldtune.tunings.hub import push
folder, picture = sys.argv[1:]
sent = push(Path(folder), "me/tuned")
(row,) = foldtune.predict("hf-hub:me/tuned", [picture])
backbone = foldtune.load_backbone("hf-hub:me/tuned")
model = timm.create_model("hf-hub:me/tuned", pretrained=True)
try:
    foldtune.predict("hf-hub:me/absent", [picture])
except InputError as error:
    refused = [str(error)]
for name in ("me/absent", "absent"):
    try:
        foldtune.load_backbone(f"hf-hub:{name}")
    except InputError as error:
        refused.append(str(error))
os.environ["HF_TOKEN"] = "no"
sys.argv = ["foldtune", "push", folder, "me/tuned"]
with contextlib.redirect_stderr(io.StringIO()) as said:
    try:
        main()
    except SystemExit as end:
        code = end.code
print(json.dumps({"sent": sent, "class": row["class"], "resize": backbone.transform.resize,
                  "outputs": model.num_classes, "refused": refused, "code": code,
                  "said": said.getvalue()}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An exported folder whose images are cropped, which the hub's own words do not tell us."""
    place = tmp_path_factory.mktemp("exported")
    data = load_data("digits", size=16, cache=place / "cache").few_shot(2)
    backbone = load_backbone("micro", size=16)
    backbone = replace(backbone, transform=replace(backbone.transform, resize="crop"))
    recipe = Recipe(epochs=1, warmup_epochs=0.0)
    path = fit(data, backbone, "BitFit", recipe=recipe, out=place / "run").tuning
    return export_tuning(path, place / "out", backbone, data).folder


def run(url, home, *words):
    environment = {
        **os.environ, "HF_ENDPOINT": url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


def test_a_folder_is_sent_found_by_name_and_loaded_by_timm(exported, tmp_path):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (20, 30), (200, 40, 40)).save(picture)
    with serving(tmp_path / "hub", TOKEN) as (url, asked):
        done = run(url, tmp_path / "home", "-c", CODE, str(exported), str(picture))
        assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "foldtune/tuning.safetensors" in told["sent"]
    there = tmp_path / "hub/me/tuned/main"
    assert {p.relative_to(there).as_posix() for p in there.rglob("*") if p.is_file()} == set(
        told["sent"]
    )
    assert (tmp_path / "hub/me/tuned/private").read_text() == "True"
    assert (told["outputs"], told["resize"]) == (10, "crop")
    assert told["class"] in {str(n) for n in range(10)}
    absent, model, misspelt = told["refused"]
    assert absent.startswith("hf-hub:me/absent cannot be fetched")
    assert "hf-hub:me/absent" in model
    assert "is no name on the hub" in misspelt
    assert (told["code"], told["said"].count("\n")) == (2, 1)
    assert "log in (hf auth login)" in told["said"]
    assert any(line.startswith("HEAD /me/tuned/resolve/") for line in asked)
