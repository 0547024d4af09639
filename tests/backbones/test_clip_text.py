"""The zero-shot classifier is the two-tower model's own answer, and an ordinary head after."""

import json

import pytest
import torch
from safetensors.torch import save_file

from foldtune.backbones import load, load_backbone
from foldtune.backbones.clip_text import TEMPLATES, Prompts, read_templates, zero_shot_head
from foldtune.backbones.open_clip_models import build_clip, import_open_clip
from foldtune.core.attach import attach
from foldtune.core.tuningfile import save
from foldtune.errors import InputError
from foldtune.methods import LoRA

NAME = "open_clip:foldtune-words"
CLASSES = ("cat", "sea_lion", "dog")


@pytest.fixture(scope="module", autouse=True)
def clip(tmp_path_factory):
    """A tiny two-tower model whose text tower reads CLIP's own vocabulary."""
    path = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    (path / "foldtune-words.json").write_text(json.dumps(config))
    import_open_clip().add_model_config(path)
    return build_clip(NAME, pretrained=False)


def tower(**settings):
    return load_backbone(NAME, pretrained=False, **settings)


def zero_shot(backbone, prompts=None):
    """The tower with its zero-shot classifier in the head's place."""
    attachment = attach(backbone, LoRA(rank=2), num_classes=len(CLASSES), seed=0)
    attachment.classifier.start_from(*zero_shot_head(backbone, CLASSES, prompts))
    return attachment


def test_one_template_gives_the_logits_of_the_two_towers(clip):
    backbone = tower()
    images = backbone.example()
    tokens = import_open_clip().get_tokenizer("foldtune-words")([f"a {c}" for c in CLASSES])
    tokens[1] = import_open_clip().get_tokenizer("foldtune-words")(["a sea lion"])[0]
    with torch.no_grad():
        wanted = clip.get_logits(images, tokens)[0]
        found = zero_shot(backbone, Prompts(("a {}",))).model(images)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert wanted.abs().max() > 0.1


def test_several_templates_are_averaged_on_the_sphere(clip):
    weight, bias = zero_shot_head(tower(), CLASSES)
    scale = clip.logit_scale.exp().item()
    assert torch.allclose(weight.norm(dim=1), torch.full((3,), scale), rtol=1e-4)
    assert not bias.any()
    parts = [zero_shot_head(tower(), CLASSES, Prompts((t,)))[0] for t in TEMPLATES]
    mean = torch.stack(parts).mean(0)
    assert torch.allclose(weight, mean / mean.norm(dim=1, keepdim=True) * scale, rtol=1e-3)


# Without gradients, as all judging is: nn.MultiheadAttention takes another kernel where some tensor
# wants one.
@torch.no_grad()
def test_the_start_stays_an_ordinary_head_saved_loaded_interpolated_and_merged(tmp_path):
    attachment = zero_shot(tower())
    x = tower().example()
    start = attachment.model(x)
    for p in attachment.parameters():
        p.add_(0.05)
    tuned = attachment.model(x)
    path = save(attachment, tmp_path / "t.safetensors")
    again = load(path, tower())
    with again.interpolated(0.0):
        assert torch.equal(again.model(x), start)
    assert torch.equal(again.model(x), tuned)
    assert torch.allclose(again.merge()(x), tuned, atol=1e-4)


def test_a_file_of_both_towers_reads_text_and_one_of_the_visual_tower_does_not(clip, tmp_path):
    both, visual = tmp_path / "both.safetensors", tmp_path / "visual.safetensors"
    state = {k: v.contiguous() for k, v in clip.state_dict().items()}
    save_file(state, both)
    save_file({k: v for k, v in state.items() if k.startswith("visual.")}, visual)
    weight = zero_shot_head(load_backbone(NAME, weights=both), CLASSES)[0]
    assert torch.allclose(weight, zero_shot_head(tower(), CLASSES)[0])
    with pytest.raises(InputError, match=r"visual\.safetensors .* holds the visual tower alone"):
        zero_shot_head(load_backbone(NAME, weights=visual), CLASSES)


@pytest.mark.parametrize(
    ("name", "words"),
    [("micro", "no text tower; take"), ("test_vit", "no text tower; take")],
)
def test_a_backbone_without_text_is_refused(name, words):
    backbone = load_backbone(name, pretrained=name == "micro")
    with pytest.raises(InputError, match=words):
        zero_shot_head(backbone, CLASSES)


def test_timms_clip_towers_are_refused_with_the_model_to_take():
    from dataclasses import replace

    backbone = replace(load_backbone("micro"), name="vit_base_patch16_clip_224.openai")
    with pytest.raises(InputError, match=r"timm's CLIP towers come without text\); take .*openai"):
        zero_shot_head(backbone, CLASSES)


def test_prompts_survive_in_the_name_of_the_start():
    assert Prompts().head == "zero-shot"
    assert Prompts.parse("zero-shot") == Prompts()
    own = Prompts(("ein {}",), (("n01", "großer Hund"),))
    assert Prompts.parse(own.head) == own
    assert own.of("n01") == ["ein großer Hund"]
    assert Prompts(("a {}",)).of("sea_lion") == ["a sea lion"]


def test_templates_are_read_by_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("# ours\na {}\n\nthe {}\n")
    assert read_templates(path) == ("a {}", "the {}")
    with pytest.raises(InputError, match="once, for the class"):
        Prompts(("a photo",))
    with pytest.raises(InputError, match="at least one"):
        Prompts(())
    with pytest.raises(InputError, match="no templates at"):
        read_templates(tmp_path / "absent.txt")
