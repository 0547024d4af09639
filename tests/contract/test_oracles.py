"""Number by number against what the reference implementations computed (float64, atol 1e-9)."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from timm.models.convnext import ConvNeXt
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from foldtune import methods as m
from foldtune.backbones.as_mlp import AsMlp
from foldtune.core.attach import attach
from foldtune.core.edits import Train
from foldtune.errors import InputError

ORACLES = Path(__file__).parents[1] / "oracles"
# The smallest typical mistake (LayerNorm eps 1e-5 instead of 1e-6) moves the logits by 1e-5.
CLOSE = {"atol": 1e-9, "rtol": 0.0}
# The reference leaves the patch embedding and the norms inside the axial shift alone.
AS_MLP_SKIPPED = (
    "stem",
    "patch_embed.norm",
    *(
        f"layers.{stage}.blocks.{block}.axial_shift.{norm}"
        for stage, depth in enumerate((1, 2, 1))
        for block in range(depth)
        for norm in ("norm1", "norm2")
    ),
)
METHODS = {
    "ssf": lambda o: m.SSF(),
    "ssf_swin": lambda o: m.SSF(),
    "ssf_convnext": lambda o: m.SSF() + HeadNorm(),
    "ssf_asmlp": lambda o: m.SSF(skip=AS_MLP_SKIPPED),
    "lora": lambda o: m.LoRA(rank=o["rank"]),
    "lora_qv": lambda o: m.LoRA(rank=o["rank"], alpha=o["alpha"], separate="qv"),
    "adaptformer": lambda o: m.AdaptFormer(rank=o["rank"], scale=o["scale"]),
    "pfeiffer": lambda o: m.Pfeiffer(rank=o["rank"], scale=o["scale"]),
    "houlsby": lambda o: m.Houlsby(rank=o["rank"], scale=o["scale"]),
    "adapter_plus": lambda o: m.AdapterPlus(rank=o["rank"]),
    "repadapter": lambda o: m.RepAdapter(rank=o["rank"], groups=o["groups"], scale=o["scale"]),
    "vpt_shallow": lambda o: m.VPTShallow(o["num_prompts"]),
    "vpt_deep": lambda o: m.VPTDeep(o["num_prompts"]),
    "fact_tt": lambda o: m.FacTTT(rank=o["rank"], scale=o["scale"]),
    "fact_tk": lambda o: m.FacTTK(rank=o["rank"], scale=o["scale"], interleave=True),
    "convpass": lambda o: m.Convpass(rank=o["rank"], scale=o["scale"]),
    "difffit": lambda o: m.DiffFit(),
    "bitfit": lambda o: m.BitFit(),
    "layernorm": lambda o: m.LayerNorm(),
}
# Fixture names say where tensors stand in the paper's drawing; ours, at which site.
RENAMED = {
    "SSF": [("features.", "stages.3.blocks.0.")],
    "AdaptFormer": [(".adapter_mlp.", ".")],  # joined at the block's output
    "Pfeiffer": [("adapter_mlp", "mlp")],
    "Houlsby": [("adapter_mlp", "mlp"), ("adapter_attn", "attn")],
    "AdapterPlus": [(".adapter.", ".")],
    "LoRA": [(".attn.q.", ".attn.qkv.q."), (".attn.v.", ".attn.qkv.v.")],
    "RepAdapter": [
        ("adapter_mlp", "mlp.fc1.inner"),
        ("adapter_attn", "attn.qkv.inner"),
        (".A.weight", ".A"),
        (".A.bias", ".a"),
        (".B.weight", ".B"),
        (".B.bias", ".b"),
    ],
    "VPTShallow": [("prompts", "blocks.0.prompts")],
    "FacTTT": [("fact.", "blocks.0.attn.qkv."), (".core", ".S")],
    "FacTTK": [("fact.", "blocks.0.attn.qkv.")],
    "Convpass": [("adapter_mlp", "mlp"), ("adapter_attn", "attn")],
    "DiffFit": [("gamma1", "attn.proj.gamma"), ("gamma2", "mlp.fc2.gamma")],
}


@dataclass(frozen=True, repr=False)
class HeadNorm(m.Method):
    """The reference trains the norm before ConvNeXt's classifier with it."""

    def edits(self, model, sites):
        return [Train(("head.norm.weight", "head.norm.bias"))]


CLASSES = {
    "vit": VisionTransformer,
    "swin": SwinTransformer,
    "convnext": ConvNeXt,
    "asmlp": AsMlp,
}


def renamed(family, key):
    """A key of the SSF repository (timm 0.6) as timm 1.0 has it."""
    parts = key.split(".")
    if family == "swin":  # downsampling opens the next stage; the head nests
        if "downsample" in parts:
            parts[1] = str(int(parts[1]) + 1)
        if parts[0] == "head":
            parts.insert(1, "fc")
    if family == "convnext" and ("stem" in parts or "downsample" in parts):
        parts = [{"proj": "0" if "stem" in parts else "1"}.get(p, p) for p in parts]
        parts = [{"norm": "1" if "stem" in parts else "0"}.get(p, p) for p in parts]
    return ".".join(parts)


class Fixture:
    """One file: its network as it was before tuning, and the tuning's tensors by our names."""

    def __init__(self, name):
        with safe_open(ORACLES / f"{name}.safetensors", "pt") as file:
            self.tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            self.meta = json.loads(file.metadata()["fixture"])
        self.family = self.meta["arch"].get("family", "vit")
        tuned = self.group("backbone.")
        # The classifier has its own, tuned, value; base tensors that train start elsewhere.
        self.model = self._build()
        self.model.load_state_dict(tuned | self.group("pretrained."))
        self.method = METHODS[name](self.meta["options"])
        self.attachment = attach(self.model, self.method, example=self.tensors["input"], seed=0)
        mine = self.attachment.named_tensors()
        theirs = tuned | self.ours(self.group("method."))
        self.attachment.load_tensors({k: theirs[k] for k in mine})

    def group(self, prefix):
        return {
            renamed(self.family, k.removeprefix(prefix)): v
            for k, v in self.tensors.items()
            if k.startswith(prefix)
        }

    def _build(self):
        cls = CLASSES[self.family]
        known = inspect.signature(cls).parameters  # the rest (act, ln_eps, ...) is timm's default
        arch = {k: v for k, v in self.meta["arch"].items() if k in known}
        return cls(**arch).double().eval()

    def ours(self, group):
        """A group of the method's tensors by our names."""
        label = type(self.method.parts[0]).__name__
        if label == "VPTDeep":  # one tensor for all blocks
            group = {f"blocks.{i}.prompts": v for i, v in enumerate(group["prompts"])}
        if label == "FacTTT":  # q, k, v are one matrix here
            for block in {k.removesuffix("q.core") for k in group if k.endswith("q.core")}:
                parts = [group.pop(f"{block}{letter}.core") for letter in "qkv"]
                group[f"{block}qkv.core"] = torch.cat(parts)
        named = {}
        for name, value in group.items():
            for theirs, ours in RENAMED.get(label, []):
                name = name.replace(theirs, ours)
            named[f"{label}.{name}"] = value
        return named


@pytest.fixture(params=METHODS)
def fixture(request):
    return Fixture(request.param)


def test_logits_and_loss_equal_the_reference(fixture):
    logits = fixture.model(fixture.tensors["input"])
    torch.testing.assert_close(logits, fixture.tensors["logits"], **CLOSE)
    loss = F.cross_entropy(logits, fixture.tensors["target"])
    torch.testing.assert_close(loss, fixture.tensors["loss"], **CLOSE)


def test_every_gradient_equals_the_reference(fixture):
    F.cross_entropy(fixture.model(fixture.tensors["input"]), fixture.tensors["target"]).backward()
    wanted = fixture.group("grad.backbone.")
    wanted |= fixture.ours(fixture.group("grad.method."))
    heads = set(fixture.attachment.head_names)
    wanted |= {k: v for k, v in fixture.group("grad.").items() if k in heads}
    if fixture.family == "convnext":
        wanted |= {k: v for k, v in fixture.group("grad.").items() if k.startswith("head.norm.")}
    mine = fixture.attachment.named_tensors()
    assert set(mine) == set(wanted)
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor.grad, wanted[name], **CLOSE, msg=name)


def test_merged_weights_equal_the_reference(fixture):
    merged = fixture.group("merged.")
    if not fixture.attachment.mergeable:
        assert not merged
        return
    state = fixture.attachment.merge().state_dict()
    affine = fixture.group("merged_affine.")
    for name in fixture.attachment.retained:
        merged[name] = affine.pop(name.rpartition(".")[2])
    assert not affine
    for name, tensor in merged.items():
        torch.testing.assert_close(state[name], tensor, **CLOSE, msg=name)
    logits = fixture.model(fixture.tensors["input"])
    torch.testing.assert_close(logits, fixture.tensors["logits"], **CLOSE)


def test_half_way_interpolation_equals_the_reference(fixture):
    x = fixture.tensors["input"]
    if not fixture.attachment.interpolates:
        assert "logits_at_half" not in fixture.tensors
        with pytest.raises(InputError, match="adds tokens"), fixture.attachment.interpolated(0.5):
            pass
        return
    with fixture.attachment.interpolated(0.5, head_alpha=1.0) as model:
        torch.testing.assert_close(model(x), fixture.tensors["logits_at_half"], **CLOSE)
    with fixture.attachment.interpolated(0.5) as model:
        wanted = fixture.tensors["logits_at_half_with_head"]
        torch.testing.assert_close(model(x), wanted, **CLOSE)
