import pytest
import timm
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.structure.head import check_paths, find_head, new_classifiers, set_module
from foldtune.core.tuningfile import read, save
from foldtune.errors import InputError
from foldtune.methods import SSF, LinearProbe
from foldtune.testing import TINY_HOSTS, build_host

from ..tiny import assert_untouched, attention_host, distilled_host, shift, snapshot, vit

CLASSIFIERS = {"swin": "head.fc", "swinv2": "head.fc", "convnext": "head.fc", "resnet": "fc"}


@pytest.mark.parametrize("host", TINY_HOSTS)
def test_classifier_is_found_by_the_contract_of_the_host(host):
    assert find_head(build_host(host)[0]) == (CLASSIFIERS.get(host, "head"),)


def test_both_classifiers_of_a_distilled_host_are_found():
    assert find_head(distilled_host()[0]) == ("head", "head_dist")


def test_classifier_is_found_by_its_usual_name():
    assert find_head(attention_host()[0]) == ("heads.head",)
    model = nn.Module()
    model.classifier = nn.Linear(2, 2)
    assert find_head(model) == ("classifier",)


def test_host_that_names_no_classifier_is_refused_with_the_cure():
    model = nn.Module()
    model.top = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"give its path: attach\(\.\.\., head='path'\)"):
        find_head(model)


@pytest.mark.parametrize("path", ["hed", "", "head.", "blocks.9"])
def test_unknown_path_is_refused(path):
    with pytest.raises(InputError, match=r"unknown classifier .*; choose from: "):
        check_paths(vit()[0], (path,))


def test_nearest_path_comes_first():
    with pytest.raises(InputError, match="choose from: head"):
        check_paths(vit()[0], ("hed",))


@pytest.mark.parametrize("number", [0, -3])
def test_a_classifier_without_an_output_is_refused(number):
    model, x = vit()
    with pytest.raises(InputError, match="must be at least 1"):
        new_classifiers(model, ("head",), number, x)


def test_one_output_is_a_number_to_predict():
    model, x = vit()
    assert new_classifiers(model, ("head",), 1, x)["head"].weight.shape == (1, 24)


def test_new_classifier_keeps_width_type_and_place():
    model, x = vit()
    made = new_classifiers(model.bfloat16(), ("head",), 7, x)["head"]
    assert made.weight.shape == (7, 24)
    assert made.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("old", [nn.Linear(4, 3), nn.Conv2d(4, 3, 1)])
def test_what_is_drawn_next_is_alike_wherever_the_host_lies(old):
    """A classifier drawn on a GPU left its numbers of the CPU's to the method that started next."""
    found = []
    for device in ("cpu", "meta"):
        model = nn.Sequential(nn.Identity(), old).to(device)
        torch.manual_seed(0)
        (made,) = new_classifiers(model, ("1",), 5, torch.zeros(2, 4, device=device)).values()
        assert made.weight.device.type == device
        found.append(torch.rand(1))
    assert torch.equal(*found)


def test_other_layers_cannot_be_replaced():
    model, x = vit()
    with pytest.raises(InputError, match="classifier norm is a LayerNorm; only a Linear"):
        new_classifiers(model, ("norm",), 7, x)


@pytest.mark.parametrize(
    ("host", "width"),
    [
        (lambda: vit(num_classes=0), 24),
        (lambda: random_resnet(), 16),
    ],
    ids=["vit", "resnet"],
)
def test_headless_host_gets_a_classifier_and_gives_it_back(host, width):
    model, x = host()
    before = snapshot(model)
    attachment = attach(model, SSF(), example=x, num_classes=7, seed=0)
    assert model(x).shape == (2, 7)
    assert attachment.head_size == 7 * width + 7
    with attachment.paused():
        assert model(x).shape == (2, width)
    attachment.detach()
    assert_untouched(model, before)


def random_resnet():
    model = timm.create_model(
        "resnet18", layers=(2, 1, 1, 1), channels=(8, 8, 16, 16), num_classes=0
    )
    return model.double().eval(), torch.rand(2, 3, 32, 32).double()


def test_headless_host_without_classes_is_refused():
    # It attached, and save() ended in an IndexError.
    model, x = vit(num_classes=0)
    before = snapshot(model)
    with pytest.raises(InputError, match=r"no classifier .*num_classes=\.\.\."):
        attach(model, SSF(), example=x)
    assert_untouched(model, before)


def test_both_classifiers_of_a_distilled_host_are_replaced_trained_and_given_back():
    model, x = distilled_host()
    before = snapshot(model)
    attachment = attach(model, LinearProbe(), example=x, num_classes=7, seed=0)
    assert attachment.head_names == (
        "head.weight", "head.bias", "head_dist.weight", "head_dist.bias",
    )  # fmt: skip
    assert attachment.num_classes == 7
    model.train()
    model.set_distilled_training(True)
    sum(t.sum() for t in model(x)).backward()
    assert all(p.grad is not None for p in attachment.parameters())
    model.set_distilled_training(False)
    model.eval()
    attachment.detach()
    assert_untouched(model, before)


def test_classifier_that_opens_with_a_norm_counts_its_classes():
    # The first parameter of ConvNeXt's whole head is its norm.
    model, x = build_host("convnext")
    attachment = attach(model, LinearProbe(), example=x, head="head")
    assert attachment.num_classes == 5
    assert set(attachment.head_names) == {
        "head.norm.weight", "head.norm.bias", "head.fc.weight", "head.fc.bias",
    }  # fmt: skip


def test_compound_classifier_is_replaced_in_its_last_layer_and_loads_again(tmp_path):
    # A tuning with the whole head of ConvNeXt could be saved, and never loaded.
    model, x = build_host("convnext")
    before = snapshot(model)
    attachment = attach(model, SSF(), example=x, head="head", num_classes=7, seed=0)
    shift(attachment)
    logits = model(x)
    path = save(attachment, tmp_path / "t.safetensors")
    attachment.detach()
    assert_untouched(model, before)
    assert logits.shape == (2, 7)
    header, tensors = read(path)
    again = attach(model, SSF(), example=x, head=header["head"], num_classes=header["num_classes"])
    again.load_tensors(tensors)
    assert torch.equal(model(x), logits)


def test_classifier_behind_a_flattening_is_found_and_replaced():
    model = nn.Module()
    model.classifier = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    assert find_head(model) == ("classifier.1",)


def test_classifier_behind_a_norm_and_in_a_wrapped_host_is_found():
    import transformers

    with torch.device("meta"):
        levit = transformers.LevitForImageClassification(transformers.LevitConfig())
    assert find_head(levit) == ("classifier.linear",)
    wrapped = nn.ModuleDict({"inner": timm.create_model("resnet18")})
    assert find_head(wrapped) == ("inner.fc",)


def test_set_module_keeps_the_order_of_siblings():
    model, _ = vit()
    names = [n for n, _ in model.named_modules()]
    set_module(model, "blocks.0.norm1", nn.LayerNorm(24))
    assert [n for n, _ in model.named_modules()] == names


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("levit_128s", ("head.linear", "head_dist.linear")),  # a norm and a Linear each
        ("repvit_m1", ("head.head.l", "head.head_dist.l")),
        ("crossvit_tiny_240", ("head.0", "head.1")),  # one for each branch
        ("volo_d1_224", ("head", "aux_head")),  # get_classifier names the first alone
        ("dla46x_c", ("fc",)),  # a 1x1 convolution
        ("caformer_s18", ("head.fc.fc2",)),
    ],
)
def test_classifier_of_several_layers_is_the_ones_that_give_classes(name, paths):
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        x = torch.zeros(2, *timm.data.resolve_model_data_config(model)["input_size"])
        assert find_head(model) == paths
        attachment = attach(model, LinearProbe(), example=x, num_classes=7)
        assert model(x).shape == (2, 7)
    assert attachment.num_classes == 7


@pytest.mark.parametrize("name", ["levit_128s", "dla46x_c"])
def test_solved_classifier_is_what_the_host_answers(name):
    # Of LeViT's two, whose mean is taken, the second would have added its own guess.
    model = timm.create_model(name).eval()
    x = torch.rand(2, 3, 224, 224)
    attachment = attach(model, LinearProbe(), example=x, num_classes=5, seed=0)
    first, seen = model.get_submodule(attachment.head[0]), []
    first.register_forward_pre_hook(lambda _module, args: seen.append(args[0].flatten(1)))
    weight, bias = torch.randn(5, first.weight.shape[1]), torch.randn(5)
    attachment.classifier.start_from(weight, bias)
    with torch.no_grad():
        logits = model(x)
    # Rounding of one product of some hundred terms.
    assert torch.allclose(logits, seen[0] @ weight.T + bias, rtol=1e-4, atol=1e-4)
