"""Trainable parameters without the classifier, as the papers and their code count them."""

import pytest
import torch
from timm import create_model

from foldtune.backbones.as_mlp import AsMlp
from foldtune.core.attach import attach
from foldtune.methods import parse

# ViT-B/16. The numbers of the published code, run once for each method.
VIT_BASE = {
    "LinearProbe()": 0,
    "BitFit()": 102_912,
    "LayerNorm()": 38_400,
    "DiffFit()": 140_544,
    "SSF()": 205_824,
    "LoRA(rank=1)": 36_864,
    "LoRA(rank=8)": 294_912,
    "LoRA(rank=8, separate='qv')": 294_912,
    "LoRA(rank=32)": 1_179_648,
    "AdaptFormer(rank=8)": 156_768,
    "AdaptFormer(rank=64)": 1_189_632,
    "Pfeiffer(rank=8)": 156_768,
    "Houlsby(rank=8)": 313_536,
    "AdapterPlus(rank=8)": 165_984,
    "AdapterPlus(rank=16)": 313_536,
    "RepAdapter(rank=8, groups=2)": 239_808,
    "RepAdapter(rank=8, groups=2, targets=('attn.in',))": 119_904,
    "VPTShallow(10)": 7_680,
    "VPTDeep(10)": 92_160,
    "VPTDeep(100)": 921_600,
    "FacTTT(rank=4)": 8_448,
    "FacTTT(rank=8)": 21_504,
    "FacTTT(rank=16)": 61_440,
    "FacTTK(rank=8)": 13_952,
    "FacTTK(rank=32)": 86_528,
    "Convpass(rank=8)": 327_552,
    "ARC(rank=50)": 96_432,
    "Consolidator(groups=384)": 221_184,
    "DoRA(rank=8)": 322_560,
    "IA3()": 55_296,
    "LastBlocks(3)": 21_263_616,
    "LastBlocks(3, part='attn')": 7_087_104,
    "LastBlocks(3, part='mlp')": 14_167_296,
    "Stem()": 590_592,
}
# Shapes without numbers (meta tensors): whole models at no cost in memory.
ELSEWHERE = {
    ("Full()", "vit_base_patch16_224"): 85_798_656,
    ("SSF()", "swin_base_patch4_window7_224"): 267_264,
    ("SSF()", "convnext_base"): 255_232,
}


@pytest.fixture(autouse=True)
def _no_passes(monkeypatch):
    # That gradients arrive is asked on small hosts; here it took two thirds of the time.
    monkeypatch.setattr("foldtune.core.attach.dry_run", lambda attachment, example: None)


def count(model, method, size):
    attachment = attach(model, parse(method), example=torch.zeros(1, 3, size, size))
    trainable = attachment.trainable
    attachment.detach()
    return trainable


@pytest.fixture(scope="module")
def vit_base():
    # One patch: no method but Full counts the positions, and a step costs next to nothing.
    model = create_model("vit_base_patch16_224", img_size=16, weight_init="skip")
    for left_to_chance in (model.cls_token, model.pos_embed):
        torch.nn.init.zeros_(left_to_chance)
    return model


@pytest.mark.parametrize("method", VIT_BASE)
def test_count_on_vit_base(vit_base, method):
    assert count(vit_base, method, size=16) == VIT_BASE[method]


@pytest.mark.parametrize(("method", "backbone"), ELSEWHERE)
def test_count_elsewhere(method, backbone):
    with torch.device("meta"):
        assert count(create_model(backbone), method, size=224) == ELSEWHERE[method, backbone]


def test_count_on_as_mlp_base():
    with torch.device("meta"):
        model = AsMlp()
        inner = [n for n, _ in model.named_modules() if ".axial_shift.norm" in n]
        skip = ("stem", "patch_embed.norm", *inner)
        assert count(model, f"SSF(skip={skip!r})", size=224) == 266_752
