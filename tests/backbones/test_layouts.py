"""Checkpoints as the tools that people use write them: read, or refused with the cure.

Each layout is written in its real format, around the tensors of one small host of timm.
"""

import argparse
import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from foldtune import attach, load_backbone
from foldtune.backbones.checkpoint import Checkpoint, read_checkpoint
from foldtune.backbones.fitting import fit_to
from foldtune.errors import InputError
from foldtune.methods import LoRA

VIT, CNN = "test_vit", "test_resnet"
ARGS = argparse.Namespace(lr=0.1, arch="vit")


def tensors(name=VIT, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return timm.create_model(name, **settings).state_dict()


def under(prefix, state):
    return {f"{prefix}{n}": t for n, t in state.items()}


def others(state):
    """The same names with other values: a student's, a momentum encoder's."""
    return {n: t + 1 for n, t in state.items()}


def body(state):
    return {n: t for n, t in state.items() if not n.startswith(("head.", "fc."))}


# name of the file, what is saved, what is said of it
def layouts(state):
    bare, decoder = body(state), {"decoder_embed.weight": torch.ones(3, 3)}
    projector = {"head.mlp.0.weight": torch.ones(4, 64), "head.last_layer.weight_g": torch.ones(9)}
    return {
        "plain": ("w.pth", state, ""),
        "bytes of no suffix": ("weights", state, ""),
        "model": ("w.pth", {"model": state, "epoch": 3}, "took model"),
        "mae": ("w.pth", {"model": bare | decoder, "args": ARGS}, "left out 1"),
        "dino full": (
            "w.pth",
            {
                "student": under("module.backbone.", others(bare)) | under("module.", projector),
                "teacher": under("backbone.", bare) | projector,
                "epoch": 800, "args": ARGS,
            },
            "took teacher, without the prefix backbone.",
        ),
        "moco v3": (
            "w.pth.tar",
            {
                "state_dict": under("module.base_encoder.", bare)
                | under("module.momentum_encoder.", others(bare))
            },
            "without the prefix module.base_encoder.",
        ),
        "lightning": (
            "w.ckpt",
            {
                "state_dict": under("model.", state) | {"criterion.weight": torch.ones(3)},
                "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"lr": 1e-3},
                "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
            },
            "took state_dict, without the prefix model.",
        ),
        "timm training": (
            "w.pth.tar",
            {
                "arch": VIT, "epoch": 9, "state_dict": others(state), "state_dict_ema": state,
                "optimizer": {"state": {}}, "args": ARGS, "metric": np.float64(0.5),
            },
            "took state_dict_ema",
        ),
        "model_state_dict": ("w.tar", {"model_state_dict": state}, "took model_state_dict"),
        "two wrappers": ("w.pt", {"model": {"state_dict": state}}, "took model > state_dict"),
        "fsdp": ("w.pt", {f"_fsdp_wrapped_module.{n}": t for n, t in state.items()}, ""),
        "fsdp inside": (
            "w.pt",
            {n.replace("blocks.0.", "blocks.0._fsdp_wrapped_module."): t for n, t in state.items()},
            "",
        ),
        "ddp compiled": ("w.pt", under("module._orig_mod.", state), "prefix module."),
        **{
            f"prefix {p}": ("w.pth", under(p, state), f"without the prefix {p}")
            for p in ("model.", "backbone.", "encoder.", "net.", "module.", "teacher.")
        },
        "half precision": ("w.pth", {n: t.half().float() for n, t in state.items()}, ""),
        "no classifier": ("w.pth", bare, ""),
    }  # fmt: skip


@pytest.mark.parametrize("layout", layouts(tensors()))
def test_layout_is_read(layout, tmp_path, caplog):
    state = tensors()
    name, saved, said = layouts(state)[layout]
    torch.save(saved, tmp_path / name)
    found = load_backbone(VIT, weights=tmp_path / name)
    mine = found.model.state_dict()
    assert set(body(mine)) == set(body(state))
    wanted = saved if layout == "half precision" else state
    assert all(torch.equal(mine[n], wanted[n]) for n in mine)
    assert said in caplog.text
    assert bool(said) == bool(caplog.text)


def test_old_torch_files_without_an_archive_are_read(tmp_path):
    state = tensors()
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    found = load_backbone(VIT, weights=tmp_path / "w.pth").model.state_dict()
    assert all(torch.equal(found[n], t) for n, t in state.items())


@pytest.mark.parametrize("layout", ["folder", "folder of bin", "index", "folder with index"])
def test_folders_and_shards_are_read(layout, tmp_path):
    state = tensors()
    if layout == "folder":
        save_file(state, tmp_path / "model.safetensors")
    elif layout == "folder of bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        names = list(state)
        parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
        for file, own in parts.items():
            save_file({n: state[n] for n in own}, tmp_path / file)
        index = {"weight_map": {n: file for file, own in parts.items() for n in own}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    path = tmp_path / "model.safetensors.index.json" if layout == "index" else tmp_path
    found = load_backbone(VIT, weights=path)
    assert all(torch.equal(found.model.state_dict()[n], t) for n, t in state.items())
    assert "sha256:" in found.weights


def test_index_reads_nothing_outside_its_folder(tmp_path):
    save_file(tensors(), tmp_path / "secret.safetensors")
    (tmp_path / "in").mkdir()
    index = {"weight_map": {"cls_token": "../secret.safetensors"}}
    (tmp_path / "in" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="names the shard"):
        read_checkpoint(tmp_path / "in")


def test_classifier_of_other_classes_stays(tmp_path):
    torch.save(tensors(num_classes=7), tmp_path / "w.pth")
    assert load_backbone(VIT, weights=tmp_path / "w.pth").model.head.weight.shape[0] == 7


def test_classifier_that_reads_other_features_is_left_out_and_said(tmp_path, caplog):
    state = tensors() | {"head.weight": torch.ones(10, 128), "head.bias": torch.ones(10)}
    torch.save(state, tmp_path / "w.pth")
    found = load_backbone(VIT, weights=tmp_path / "w.pth")
    assert isinstance(found.model.head, nn.Identity)
    assert "left out 2, such as head.weight" in caplog.text


def test_missing_counters_of_batchnorm_are_zero_and_said(tmp_path, caplog):
    state = tensors(CNN)
    torch.save({n: t for n, t in state.items() if "tracked" not in n}, tmp_path / "w.pth")
    found = load_backbone(CNN, weights=tmp_path / "w.pth").model.state_dict()
    assert all(torch.equal(found[n], t) for n, t in state.items())
    assert "counters of" in caplog.text


def test_swav_projector_is_left_out(tmp_path, caplog):
    state = tensors(CNN)
    heads = {"projection_head.0.weight": torch.ones(2, 2), "prototypes.weight": torch.ones(2, 2)}
    torch.save({"state_dict": under("module.", body(state) | heads)}, tmp_path / "swav.pth.tar")
    found = load_backbone(CNN, weights=tmp_path / "swav.pth.tar").model.state_dict()
    assert all(torch.equal(found[n], state[n]) for n in found)
    assert "left out 2" in caplog.text


def test_position_embedding_is_resampled_by_the_host(tmp_path):
    state = tensors(img_size=96)
    torch.save(state, tmp_path / "w.pth")
    found = load_backbone(VIT, weights=tmp_path / "w.pth", size=64).model
    there = timm.create_model(VIT, img_size=64)
    from timm.models.vision_transformer import checkpoint_filter_fn

    assert found.pos_embed.shape == there.pos_embed.shape
    assert torch.equal(found.pos_embed, checkpoint_filter_fn(dict(state), there)["pos_embed"])


def test_clip_s_visual_tower_goes_through_the_host_s_own_converter():
    import open_clip

    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8}
    text = {"context_length": 4, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}
    clip = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text)
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    model = timm.create_model("vit_base_patch32_clip_224", num_classes=16, **size)
    found = fit_to(model, Checkpoint(clip.state_dict()), "clip.pt", ("head",))
    wanted = clip.visual.conv1.weight
    assert torch.equal(found.state["patch_embed.proj.weight"], wanted)
    assert set(body(model.state_dict())) <= set(found.state)


@pytest.mark.parametrize("headed", [True, False])
def test_archive_of_big_vision_with_and_without_its_head(headed, tmp_path):
    state = tensors()
    np.savez(tmp_path / "w.npz", **big_vision(state, headed))
    found = load_backbone(VIT, weights=tmp_path / "w.npz").model.state_dict()
    assert ("head.weight" in found) == headed
    # The archive has one more transposition each way, and no arithmetic.
    assert all(torch.equal(found[n], state[n]) for n in found)


def big_vision(state, headed):
    width, heads = state["cls_token"].shape[-1], timm.create_model(VIT).blocks[0].attn.num_heads
    flax = {
        "embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
        "embedding/bias": state["patch_embed.proj.bias"], "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
        "Transformer/encoder_norm/scale": state["norm.weight"],
        "Transformer/encoder_norm/bias": state["norm.bias"],
    }  # fmt: skip
    if headed:
        flax |= {"head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]}
    for i in range(sum(n.endswith("norm1.weight") for n in state)):
        at, own = f"Transformer/encoderblock_{i}", f"blocks.{i}"
        for theirs, ours in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            flax[f"{at}/{theirs}/scale"] = state[f"{own}.{ours}.weight"]
            flax[f"{at}/{theirs}/bias"] = state[f"{own}.{ours}.bias"]
        attention = f"{at}/MultiHeadDotProductAttention_1"
        weights, biases = (state[f"{own}.attn.qkv.{n}"].chunk(3) for n in ("weight", "bias"))
        for name, w, b in zip(("query", "key", "value"), weights, biases, strict=True):
            flax[f"{attention}/{name}/kernel"] = w.T.reshape(width, heads, -1)
            flax[f"{attention}/{name}/bias"] = b.reshape(heads, -1)
        flax[f"{attention}/out/kernel"] = state[f"{own}.attn.proj.weight"].T.reshape(
            heads, -1, width
        )
        flax[f"{attention}/out/bias"] = state[f"{own}.attn.proj.bias"]
        for j, ours in enumerate(("fc1", "fc2")):
            flax[f"{at}/MlpBlock_3/Dense_{j}/kernel"] = state[f"{own}.mlp.{ours}.weight"].T
            flax[f"{at}/MlpBlock_3/Dense_{j}/bias"] = state[f"{own}.mlp.{ours}.bias"]
    return {n: t.numpy() for n, t in flax.items()}


def test_what_merge_wrote_of_other_classes_is_read_again(tmp_path):
    backbone = load_backbone("micro")
    merged = attach(backbone, LoRA(rank=2), num_classes=3, seed=0).merge()
    save_file(merged.state_dict(), tmp_path / "merged.safetensors")
    again = load_backbone("micro", weights=tmp_path / "merged.safetensors")
    x = again.example()
    assert torch.equal(again.model(x), merged(x))


REFUSED = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "page": (b"<!DOCTYPE html><html>404</html>", "a web page"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "nothing": (b"", "truncated"),
    "noise": (bytes(range(256)), "damaged|truncated"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_checkpoint_is_named(what, tmp_path):
    content, said = REFUSED[what]
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=said) as refusal:
        load_backbone(VIT, weights=tmp_path / "w.pth")
    assert "\n" not in str(refusal.value)


def test_whole_pickled_model_is_refused_with_the_cure(tmp_path):
    torch.save(timm.create_model(VIT), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"save its model\.state_dict\(\) as \.safetensors"):
        load_backbone(VIT, weights=tmp_path / "w.pth")


def test_values_that_are_not_finite_are_named(tmp_path):
    state = tensors()
    state["blocks.0.mlp.fc1.weight"][0, :2] = float("nan")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"blocks\.0\.mlp\.fc1\.weight is not finite .2 of"):
        load_backbone(VIT, weights=tmp_path / "w.pth")


def test_deeper_network_is_refused_at_its_first_block_too_many(tmp_path):
    state = tensors()
    torch.save(state | {"blocks.99.norm1.weight": torch.ones(64)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"first difference is blocks\.99\.norm1\.weight"):
        load_backbone(VIT, weights=tmp_path / "w.pth")


def test_renamed_tensor_is_refused_with_the_nearest(tmp_path):
    state = tensors()
    state["fc_norm.weight"] = state.pop("norm.weight")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"norm\.weight: absent .* nearest in the file: fc_norm"):
        load_backbone(VIT, weights=tmp_path / "w.pth")


def test_file_without_tensors_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"holds epoch, loss\)"):
        load_backbone(VIT, weights=tmp_path / "w.pth")
