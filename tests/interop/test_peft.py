"""Adapters go to PEFT and come back with equal logits, or are refused with the reason."""

import json
from dataclasses import replace

import pytest
import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from core.tiny import attention_host, distance
from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.interop import from_peft, read_adapter, to_peft
from foldtune.methods import parse

from .hosts import host, logits, train

# Float64: what is equal in exact arithmetic agrees far below any real difference. Float32: the same
# sums in another order.
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-5}
# The second one strides.
POINTWISE = "('layer1.0.conv1', 'layer2.0.downsample.0')"
HF_KV = "('vit.layers.0.attention.k_proj', 'vit.layers.1.attention.v_proj')"


def exported(text, name, folder, dtype=torch.float64):
    """Our logits of a moved tuning, and the model and images to load it over."""
    model, x = host(name)
    attachment = train(attach(model.to(dtype), parse(text), example=x.to(dtype), seed=1))
    to_peft(attachment, folder, base="tiny")
    ours = logits(model.eval(), x.to(dtype))
    fresh, x = host(name)
    return ours, fresh.to(dtype), x.to(dtype)


def over_peft(model, folder, x):
    return logits(PeftModel.from_pretrained(model, folder).eval(), x)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("LoRA(rank=2)", "vit"),
        ("LoRA(rank=2, alpha=3.0, targets=('mlp.up', 'blocks.1.attn.proj'), dropout=0.1)", "vit"),
        ("LoRA(rank=2, alpha=3.0, separate='qv')", "vit"),
        ("LoRA(rank=2, alpha=3.0, start='pissa')", "vit"),
        ("LoRA(rank=2, alpha=4.0, scaling='root', targets=('mlp.up',))", "vit"),
        ("LoRA(rank=2, separate='k')", "vit"),
        (
            "LoRA(rank=2, targets=('mlp.up',)) + LoRA(rank=3, alpha=1.0, targets=('attn.in',))",
            "vit",
        ),
        ("LoRA(rank=2) + BitFit()", "vit"),
        ("LoRA(rank=2) + LayerNorm()", "vit"),
        ("LoRA(rank=2, targets=('mlp.up',))", "eva02"),
        (f"LoRA(rank=2, targets={POINTWISE})", "bottleneck"),
        (f"DoRA(rank=2, targets={POINTWISE})", "bottleneck"),
        (f"IA3(outputs={POINTWISE}, inputs=('layer1.0.conv3',))", "bottleneck"),
        ("LoRA(rank=2, alpha=4.0)", "hf"),
        ("DoRA(rank=2, alpha=3.0)", "vit"),
        ("DoRA(rank=2) + BitFit()", "hf"),
        ("IA3()", "vit"),
        ("IA3()", "convnext"),
        (f"IA3(outputs={HF_KV}, inputs=('mlp.down',))", "hf"),
        ("IA3() + LayerNorm()", "vit"),
        ("LayerNorm()", "vit"),
        ("LayerNorm()", "convnext"),
        ("LayerNorm()", "resnet"),
        ("LayerNorm()", "hf"),
    ],
)
def test_peft_computes_the_same_and_it_comes_back(text, name, tmp_path):
    ours, fresh, x = exported(text, name, tmp_path)
    assert distance(over_peft(fresh, tmp_path, x), ours) < CLOSE[torch.float64]
    again = from_peft(tmp_path, host(name)[0], example=x)
    assert distance(logits(again.model, x), ours) < CLOSE[torch.float64]
    assert again.method == parse(text)
    # Without our note, as PEFT would save it, another method may be found; the logits are equal.
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file(tensors, tmp_path / "adapter_model.safetensors", {"format": "pt"})
    foreign = from_peft(tmp_path, host(name)[0], example=x)
    assert distance(logits(foreign.model, x), ours) < CLOSE[torch.float64]


PEFT_MADE = {
    "endings": ("vit", LoraConfig(r=2, target_modules=["qkv", "fc1"], modules_to_save=["head"])),
    "no head": ("vit", LoraConfig(r=2, lora_dropout=0.1, target_modules=["qkv"])),
    "rslora": ("vit", LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules=["qkv"])),
    "patterns": (
        "vit",
        LoraConfig(
            r=2, target_modules=["qkv", "fc2"], rank_pattern={"fc2": 4},
            alpha_pattern={r"blocks\.1\.attn\.qkv": 3},
        ),
    ),
    "dora": ("hf", LoraConfig(r=2, use_dora=True, target_modules=["q_proj", "v_proj"])),
    "bias all": (
        "vit", LoraConfig(r=2, bias="all", target_modules=["qkv"], modules_to_save=["head"])
    ),
    "bias lora_only": ("vit", LoraConfig(r=2, bias="lora_only", target_modules=["qkv"])),
    "every linear, head too": ("vit", LoraConfig(r=2, target_modules="all-linear")),
    "every linear of hf": (
        "hf", LoraConfig(r=2, target_modules="all-linear", modules_to_save=["classifier"])
    ),
    "norms beside": (
        "hf", LoraConfig(r=2, target_modules=["fc1"], modules_to_save=["classifier", "layernorm"])
    ),
    "convolutions": ("bottleneck", LoraConfig(r=2, target_modules=["conv1", "downsample.0"],
                                              exclude_modules="conv1")),
    "ia3": (
        "hf",
        IA3Config(
            target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"],
            modules_to_save=["classifier"],
        ),
    ),
    "ia3 on a fused matrix": (
        "vit", IA3Config(target_modules=["qkv", "fc2"], feedforward_modules=["fc2"])
    ),
    "norms": ("vit", LNTuningConfig(target_modules=["norm1"], modules_to_save=["head"])),
    "batch norms": ("resnet", LNTuningConfig(target_modules=["bn1"], modules_to_save=["fc"])),
}  # fmt: skip


@pytest.mark.parametrize("case", PEFT_MADE)
def test_what_peft_made_computes_the_same_here(case, tmp_path):
    name, config = PEFT_MADE[case]
    model, x = host(name)
    theirs = get_peft_model(model, config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.1)
    theirs.save_pretrained(tmp_path)
    expected = logits(theirs, x)
    attachment = from_peft(tmp_path, host(name)[0], example=x)
    assert distance(logits(attachment.model, x), expected) < CLOSE[torch.float64]


@pytest.mark.parametrize(
    "text", ["LoRA(rank=2, separate='qv')", "DoRA(rank=2)", "IA3()", "LayerNorm()"]
)
def test_float32_agrees_to_rounding(text, tmp_path):
    ours, fresh, x = exported(text, "vit", tmp_path, torch.float32)
    assert distance(over_peft(fresh, tmp_path, x), ours) < CLOSE[torch.float32]
    again = from_peft(tmp_path, host("vit")[0].float(), example=x)
    assert distance(logits(again.model, x), ours) < CLOSE[torch.float32]


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("SSF()", "vit", "has no PEFT form.*Methods that have one: LoRA"),
        ("AdaptFormer(rank=2)", "vit", "is a side network. Methods that have one"),
        ("VPTShallow(count=2)", "vit", "is a side network"),
        ("BitFit()", "vit", "has no PEFT form: .* Methods that have one"),
        ("LinearProbe()", "vit", "has no PEFT form"),
        ("Full()", "vit", "has no PEFT form"),
        ("LoRA(rank=2) + LoRA(rank=3)", "vit", r"changes blocks\.0\.attn\.qkv twice"),
        ("LoRA(rank=2) + DoRA(rank=2, targets=('mlp.up',))", "vit", "is of one kind"),
        ("LoRA(rank=2) + LastBlocks(count=1)", "vit", "it also trains blocks.1"),
        ("LoRA(rank=2)", "eva02", "blocks.0.attn.qkv: Eva reads its tensors itself"),
        ("LoRA(rank=2)", "beit", "never calls it"),
        ("IA3()", "swinv2", "never calls it"),
        ("LoRA(rank=2)", "torchvision", "never calls it"),
    ],
)
def test_what_peft_cannot_hold_is_refused(text, name, words, tmp_path):
    model, x = attention_host() if name == "torchvision" else host(name)
    attachment = attach(model, parse(text), example=x, seed=1)
    with pytest.raises(InputError, match=words):
        to_peft(attachment, tmp_path / "out", base="tiny")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def lora(tmp_path):
    """A folder that PEFT made, and a function that changes its configuration."""
    model, _ = host("vit")
    config = LoraConfig(r=2, target_modules=["qkv"], modules_to_save=["head"])
    get_peft_model(model, config).save_pretrained(tmp_path)

    def change(**settings):
        path = tmp_path / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        return tmp_path

    return change


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peft_type": "ADALORA"}, "of type ADALORA are not read; those of type LORA"),
        ({"use_qalora": True}, "PEFT's use_qalora = True"),
        ({"lora_bias": True}, "PEFT's lora_bias = True"),
        ({"layer_replication": [[0, 2]]}, "PEFT's layer_replication"),
        ({"an_option_of_tomorrow": 3}, "PEFT's an_option_of_tomorrow = 3"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa', which changes the base"),
        ({"r": 4}, "has rank 2, and 4 in its configuration"),
        ({"alpha_pattern": {"(": 1}}, r"pattern .* is none"),
    ],
)
def test_options_that_change_the_maths_are_refused_by_name(settings, words, lora):
    model, x = host("vit")
    with pytest.raises(InputError, match=words):
        from_peft(lora(**settings), model, example=x)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("eva02", LoraConfig(r=2, target_modules=["qkv"]), "reads its tensors itself"),
        ("resnet", LoraConfig(r=2, target_modules=["conv1"]), "a plain 1x1 Conv2d"),
        ("vit", LoraConfig(r=2, target_modules=["qkv"], modules_to_save=["fc1"]), "saves .* whole"),
        ("vit", LNTuningConfig(target_modules=["fc1"]), "saves .* whole"),
    ],
)
def test_adapters_without_an_equal_here_are_refused(name, config, words, tmp_path):
    model, x = host(name)
    get_peft_model(model, config).save_pretrained(tmp_path)
    model, x = host(name)
    before = {n: p.clone() for n, p in model.state_dict().items()}
    with pytest.raises(InputError, match=words):
        from_peft(tmp_path, model, example=x)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_another_backbone_is_refused_by_its_first_difference(lora):
    model, x = host("swin")
    with pytest.raises(InputError, match=r"made for another model; .* blocks\.0\.attn\.qkv"):
        from_peft(lora(), model, example=x)


def test_other_base_weights_are_refused_where_we_wrote_the_folder(tmp_path):
    exported("LoRA(rank=2)", "vit", tmp_path)
    model, x = host("vit")
    with torch.no_grad():
        model.blocks[0].norm1.weight[0] += 1
    with pytest.raises(InputError, match="same shapes, other values"):
        from_peft(tmp_path, model, example=x)


def test_a_note_that_names_a_classifier_of_no_model_is_refused(tmp_path):
    exported("LoRA(rank=2)", "vit", tmp_path)
    read, (model, x) = read_adapter(tmp_path), host("vit")
    strange = replace(read, header={**read.header, "head": ["<b>"]})
    with pytest.raises(InputError, match="names the classifier '<b>', which"):
        from_peft(strange, model, example=x)


def test_layers_are_named_exactly(tmp_path):
    # In a list PEFT takes `norm` for every path that ends so, and `blocks.1` has a `blocks.11`.
    exported("LoRA(rank=2, targets=('blocks.1.attn.qkv',))", "vit", tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == r"^(blocks\.1\.attn\.qkv)$"
    assert config["base_model_name_or_path"] == "tiny"
    assert config["modules_to_save"] == ["head"]


def test_a_model_without_a_name_needs_one(tmp_path):
    model, x = host("mixer")
    attachment = attach(model, parse("LoRA(rank=2, targets=('mlp.up',))"), example=x)
    with pytest.raises(InputError, match="does not say its name"):
        to_peft(attachment, tmp_path / "out")


def test_a_new_classifier_of_other_size_comes_along(tmp_path):
    model, x = host("vit")
    attachment = train(attach(model, parse("LoRA(rank=2)"), example=x, num_classes=3, seed=0))
    to_peft(attachment, tmp_path)
    assert read_adapter(tmp_path).base == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    again = from_peft(tmp_path, host("vit")[0], example=x)
    assert distance(logits(again.model, x), logits(model, x)) < CLOSE[torch.float64]
    plain = again.detach()
    assert plain.head.out_features == 5
