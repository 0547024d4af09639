"""Real backbones of every family, built tiny with random weights.

Classes of timm, transformers, open_clip and our own, two to five blocks of 8 to 24 channels at 32
pixels: what holds on these holds on the published sizes, which differ in sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()

from timm import create_model  # noqa: E402
from timm.layers import GatedMlp, GroupNorm1  # noqa: E402
from timm.models.efficientnet import EfficientNet  # noqa: E402
from timm.models.metaformer import MetaFormer  # noqa: E402
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock, SpatialGatingBlock  # noqa: E402
from timm.models.mobilenetv3 import MobileNetV3  # noqa: E402

CLASSES = 5
_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
_SWIN = {"img_size": 32, "embed_dim": 8, "depths": (2, 1), "num_heads": (2, 2), "window_size": 4}
_CONVNEXT: dict[str, Any] = {"depths": (1, 1, 2, 1), "dims": (8, 8, 12, 16)}
_MIXER: dict[str, Any] = {"img_size": 32, "patch_size": 8, "num_blocks": 2, "embed_dim": 24}
_HF = {"num_labels": CLASSES, "image_size": 32}
_HF_VIT = _HF | {
    "patch_size": 8, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip


def _timm(name: str, settings: dict[str, Any]) -> Callable[[], nn.Module]:
    return lambda: create_model(name, num_classes=CLASSES, **settings)


def _mixer(**settings: Any) -> Callable[[], nn.Module]:
    return lambda: MlpMixer(num_classes=CLASSES, **_MIXER, **settings)


def _efficientnet() -> nn.Module:
    from timm.models._efficientnet_builder import decode_arch_def

    stages = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e4_c8_se0.25"], ["ir_r2_k3_s1_e4_c12"]]
    return EfficientNet(
        decode_arch_def(stages), num_classes=CLASSES, num_features=24, stem_size=8, fix_stem=True
    )


def _mobilenet() -> nn.Module:
    from timm.models._efficientnet_builder import decode_arch_def

    stages = [["ds_r1_k3_s1_e1_c8_nre"], ["ir_r2_k3_s2_e4_c8_se0.25_nre"], ["cn_r1_k1_s1_c24"]]
    return MobileNetV3(
        decode_arch_def(stages), num_classes=CLASSES, num_features=24, stem_size=8, fix_stem=True
    )


def _mobilenetv4() -> nn.Module:
    from timm.models._efficientnet_builder import decode_arch_def

    stages = [["cn_r1_k3_s2_e1_c8"], ["uir_r1_a3_k3_s2_e4_c8", "uir_r2_a0_k3_s1_e4_c8"]]
    return MobileNetV3(
        decode_arch_def(stages), num_classes=CLASSES, num_features=24, stem_size=8, fix_stem=True,
        head_norm=True,
    )  # fmt: skip


def _regnet() -> nn.Module:
    from timm.models.regnet import RegNet, RegNetCfg

    cfg = RegNetCfg(depth=5, w0=8, wa=6.0, wm=1.3, group_size=4, se_ratio=0.25)
    return RegNet(cfg, num_classes=CLASSES)


def _nfnet() -> nn.Module:
    from timm.models.nfnet import NfCfg, NormFreeNet

    cfg = NfCfg(
        depths=(1, 1, 2, 1), channels=(8, 8, 12, 16), group_size=4, bottle_ratio=0.5, stem_chs=8,
        num_features=24, attn_layer="se", attn_kwargs={"rd_ratio": 0.5},
    )  # fmt: skip
    return NormFreeNet(cfg, num_classes=CLASSES)


def _poolformer() -> nn.Module:
    settings: dict[str, Any] = _CONVNEXT | {"res_scale_init_values": None}  # not in timm's types
    return MetaFormer(
        num_classes=CLASSES, **settings, mlp_act=nn.GELU, mlp_bias=True, norm_layers=GroupNorm1,
        layer_scale_init_values=1e-5, use_mlp_head=False,
    )  # fmt: skip


def _as_mlp() -> nn.Module:
    from foldtune.backbones.as_mlp import AsMlp

    return AsMlp(CLASSES, img_size=32, embed_dim=8, depths=(1, 2), shift_size=3)


def _hf(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        config = getattr(transformers, f"{name}Config")(**settings)
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


def _open_clip(**settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from foldtune.backbones.open_clip_models import ImageTower, import_open_clip

        library = import_open_clip()
        vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8}
        text = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
        clip = library.CLIP(embed_dim=16, vision_cfg=vision | settings, text_cfg=text)
        tower = ImageTower(clip.visual)
        tower.head = nn.Linear(16, CLASSES)
        return tower

    return build


# The plain families: the contract runs every check on these.
TINY_HOSTS: dict[str, Callable[[], nn.Module]] = {
    "vit": _timm("vit_tiny_patch16_224", _VIT),
    "swin": _timm("swin_tiny_patch4_window7_224", _SWIN),
    "swinv2": _timm("swinv2_tiny_window8_256", _SWIN),
    "eva02": _timm("eva02_tiny_patch14_224", _VIT | {"img_size": 28, "patch_size": 14}),
    "beit": _timm("beit_base_patch16_224", _VIT),
    "convnext": _timm("convnext_atto", _CONVNEXT),
    "mixer": _mixer(),
    "resnet": _timm("resnet18", {"layers": (2, 1, 1, 1), "channels": (8, 8, 16, 16)}),
}
# Their relatives, and the same designs as other libraries write them.
FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "vit": TINY_HOSTS["vit"],
    "vit without class token": _timm(
        "vit_tiny_patch16_224", _VIT | {"class_token": False, "global_pool": "avg"}
    ),
    "vit without qkv bias": _timm(
        "vit_tiny_patch16_224", _VIT | {"qkv_bias": False, "qk_norm": True}
    ),
    "deit distilled": _timm("deit_tiny_distilled_patch16_224", _VIT),
    "deit3": _timm("deit3_small_patch16_224", _VIT),
    "dinov2": _timm("vit_small_patch14_reg4_dinov2", _VIT),
    "dinov3": _timm("vit_small_patch16_dinov3", _VIT),
    "eva02": TINY_HOSTS["eva02"],
    "beit": TINY_HOSTS["beit"],
    "clip vit": _timm("vit_base_patch32_clip_224", _VIT),
    "open_clip vit": _open_clip(),
    "open_clip resnet": _open_clip(layers=(2, 1, 1, 1), width=8, head_width=16),
    "hf vit": _hf("ViT", **_HF_VIT, intermediate_size=48),
    "hf dinov2": _hf("Dinov2", **_HF_VIT),
    "swin": TINY_HOSTS["swin"],
    "swinv2": TINY_HOSTS["swinv2"],
    "hf swin": _hf(
        "Swin", **_HF, patch_size=4, embed_dim=8, depths=[2, 1], num_heads=[2, 2], window_size=4
    ),
    "convnext": TINY_HOSTS["convnext"],
    "convnextv2": _timm("convnextv2_atto", _CONVNEXT),
    "hf convnext": _hf("ConvNext", **_HF, depths=[1, 1, 2, 1], hidden_sizes=[8, 8, 12, 16]),
    "mixer": TINY_HOSTS["mixer"],
    "resmlp": _mixer(block_layer=ResBlock, norm_layer=Affine, mlp_ratio=4),
    "gmlp": _mixer(block_layer=SpatialGatingBlock, mlp_layer=GatedMlp, mlp_ratio=4),
    "as-mlp": _as_mlp,
    "poolformer": _poolformer,
    "resnet": TINY_HOSTS["resnet"],
    "efficientnet": _efficientnet,
    "mobilenetv3": _mobilenet,
    "mobilenetv4": _mobilenetv4,
    "regnet": _regnet,
    "nfnet": _nfnet,
}


def build_host(name: str) -> tuple[nn.Module, Tensor]:
    """A tiny float64 host in eval mode, with every parameter moved off 0 and 1, and two images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (TINY_HOSTS | FAMILIES)[name]().double().eval()
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.05)
        side = 28 if name == "eva02" else 32
        return model, torch.rand(2, 3, side, side, dtype=torch.float64)
