"""An exported folder is what its library loads, says what it is, and opens without its backbone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from foldtune.backbones import load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.tuningfile import read
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits
from foldtune.study.fit import fit
from foldtune.study.tuned.export import export
from foldtune.tunings.export.folder import Asked, export_tuning
from foldtune.tunings.judging import Known, choose
from foldtune.tunings.tuning import evaluate_tuning, merge_tuning, open_tuning
from foldtune.tunings.usable import temperature_of, usable
from tunings.export.conftest import RECIPE

# A process that cannot have foldtune: whoever imports it is told so. The operators are declared as
# torchvision's own extension does, which does not load beside a torch of another build.
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "foldtune":
            raise ImportError("foldtune is not here")
sys.meta_path.insert(0, Blocked())
import torch
try:
    import torchvision
except RuntimeError:  # made for another torch than this one: it lacks its operators
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
BY_TIMM = """
import timm, json
from PIL import Image
folder, *files = sys.argv[1:]
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.no_grad():
    images = torch.stack([transform(Image.open(f).convert("RGB")) for f in files])
    logits = model(images)
names = model.pretrained_cfg["label_names"]
print(json.dumps({"logits": logits.tolist(), "classes": [names[i] for i in logits.argmax(1)]}))
"""


def alone(code, *words):
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pictures(digits, tmp_path_factory):
    """Files of other sizes than the model's, so that resizing is a part of it."""
    folder = tmp_path_factory.mktemp("pictures")
    for place, row in enumerate(digits.split("test")[:6]):
        image = Image.fromarray(digits.pixels[row])
        image.resize((30, 22), Image.Resampling.BICUBIC).save(folder / f"{place}.png")
    return sorted(folder.glob("*.png"))


def test_plain_timm_reads_classes_transform_and_weights(exported, tuning, pictures):
    from foldtune.tunings.predict import most_likely, predict_images

    assert exported.kind == "timm"
    # timm 1.0.26 ends in a NameError of its own where there are two.
    assert [p.name for p in exported.folder.glob("*.safetensors")] == ["model.safetensors"]
    found = alone(BY_TIMM, exported.folder, *pictures)
    attachment, backbone, header = open_tuning(tuning)
    wanted = list(predict_images(attachment, backbone, pictures, most_likely(header["classes"])))
    assert found["classes"] == [row["class"] for row in wanted]
    shares = torch.tensor(found["logits"]).softmax(1).max(1).values
    # Folding in and normalising by torchvision round otherwise: 1e-6 of logits up to 4.
    assert torch.allclose(shares, torch.tensor([r["probability"] for r in wanted]), atol=1e-4)


def test_a_certificate_is_of_what_the_library_loads(exported, digits):
    (one,) = exported.certificates
    assert (one.form, one.file, one.changed) == ("timm", "model.safetensors", 0)
    assert one.runtime.startswith("timm ")
    assert 0 < one.largest < 1e-4
    assert one.images == len(digits.split("test"))
    assert one.low < one.accuracy == one.accuracy_before < one.high
    assert one.bytes == (exported.folder / "model.safetensors").stat().st_size


def test_the_card_tells_what_was_measured(exported, tuning):
    card = (exported.folder / "README.md").read_text()
    (one,) = exported.certificates
    method = read(tuning)[0]["method"]
    for words in (method, "60 train", f"{one.accuracy:.2%}", "## Limits", "library_name: timm"):
        assert words in card


def test_half_the_bytes_are_certified_as_such(tuning, backbone, digits, tmp_path, exported):
    small = export_tuning(tuning, tmp_path / "half", backbone, digits, Asked(dtype="bf16"))
    whole, half = exported.certificates[0], small.certificates[0]
    assert half.bytes < 0.6 * whole.bytes
    assert half.largest > 10 * whole.largest


def test_a_folder_is_judged_as_its_tuning(exported, tuning, digits):
    found = []
    for path in (tuning, exported.folder):
        tuned, backbone, header = usable(path)
        chosen = choose(Known.of([path], [header]), digits)
        found.append(evaluate_tuning(tuned, backbone, digits, header["classes"], chosen))
    assert found[0]["images"] == found[1]["images"]
    assert found[0]["top1"] == pytest.approx(found[1]["top1"], abs=1e-9)


def test_a_merged_file_knows_its_classes_and_its_size(tuning, backbone, digits, tmp_path):
    merge_tuning(tuning, tmp_path / "m.safetensors", backbone, digits)
    tuned, found, header = usable(tmp_path / "m.safetensors")
    attachment, own, wanted = open_tuning(tuning)
    assert header["classes"] == wanted["classes"]
    assert found.transform == own.transform
    rows = digits.split("test")[:8]
    mine = predict_logits(tuned.model, digits.pixels, rows, prepare_for(found))
    theirs = predict_logits(attachment.model, digits.pixels, rows, prepare_for(own))
    assert (mine - theirs).abs().max() < 1e-4


def test_a_folder_is_a_backbone_to_tune(exported):
    found = load_backbone(str(exported.folder))
    assert found.transform.size == 16
    assert found.model.num_classes == 10


def test_two_sides_and_a_crop_come_back_from_the_folder(exported, tmp_path):
    # timm's words were read as a square that is squashed, and predictions were of other images.
    import shutil

    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    told = json.loads((folder / "foldtune.json").read_text())
    told["transform"] |= {"size": [16, 24], "resize": "crop", "interpolation": "bilinear"}
    (folder / "foldtune.json").write_text(json.dumps(told))
    transform = usable(folder)[1].transform
    assert (transform.size, transform.resize, transform.interpolation) == (
        (16, 24), "crop", "bilinear",
    )  # fmt: skip
    assert load_backbone(str(folder), size=32).transform.size == 32


def test_the_temperature_is_kept_that_validation_gave(exported):
    assert 0.05 < temperature_of(exported.folder) < 20


@pytest.mark.parametrize("name", ["model.safetensors", "foldtune/tuning.safetensors"])
def test_altered_weights_are_refused(exported, tmp_path, name):
    import shutil

    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    with (folder / name).open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    with pytest.raises(InputError, match="not as it was written"):
        usable(folder)


@pytest.mark.parametrize(
    ("argument", "words"), [({"embed_dim": 1 << 20}, "says embed_dim 1,048,576"),
                            ({"mlp_ratio": 400.0}, "asks for a model of")],
)  # fmt: skip
def test_a_config_of_a_larger_model_is_refused_before_it_is_built(
    argument, words, exported, tmp_path
):
    import shutil

    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= argument
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=words):
        usable(folder)


def test_a_config_does_not_lead_to_a_hub(exported, tmp_path):
    import shutil

    folder = shutil.copytree(exported.folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["architecture"] = "hf-hub:someone/model"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names no model of timm"):
        usable(folder)


def test_side_networks_leave_a_folder_that_foldtune_reads(digits, backbone, tmp_path):
    path = fit(digits, load_backbone("micro", size=16), "Pfeiffer(rank=4)", recipe=RECIPE,
               out=tmp_path / "run").tuning  # fmt: skip
    found = export_tuning(path, tmp_path / "out", backbone, digits, Asked(("torch-export",)))
    assert found.kind == "live"
    (one,) = found.certificates
    assert (one.form, one.changed) == ("torch-export", 0)
    assert one.largest < 1e-4
    assert not (tmp_path / "out/model.safetensors").exists()
    tuned, _, header = usable(tmp_path / "out")
    assert tuned.method == open_tuning(path)[0].method
    assert header["method"] == read(path)[0]["method"]


def test_other_formats_are_refused_by_name(tuning, tmp_path):
    with pytest.raises(InputError, match=r"unknown format 'coreml'; choose from: .*onnx"):
        export(tuning, tmp_path / "out", formats=["coreml"])
    assert not (tmp_path / "out").exists()


def test_weights_are_named_as_timm_names_them(exported):
    with safe_open(exported.folder / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(load_backbone("micro").model.state_dict())


def test_crop_is_told_to_timm(tuning, digits, backbone, tmp_path):
    from dataclasses import replace

    from foldtune.tunings.export.hosts import inexpressible, write_timm

    other = replace(backbone, transform=replace(backbone.transform, resize="crop"))
    write_timm(backbone.model, other, [str(n) for n in range(10)], tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    assert (told["crop_mode"], told["crop_pct"]) == ("center", 0.875)
    assert inexpressible(other.transform)
    assert not inexpressible(backbone.transform)
    assert np.prod(told["input_size"]) == 3 * 16 * 16
