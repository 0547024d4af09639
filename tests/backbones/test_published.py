import socket
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from foldtune import attach, load_backbone
from foldtune.backbones.weights import through_hub
from foldtune.errors import InputError
from foldtune.methods import SSF


@pytest.fixture
def online(monkeypatch):
    """As where nobody asked to stay offline, and no proxy hides whether the hub is there."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def cached_or(found):
    """A build that needs a file which is not in the cache."""

    def build():
        if constants.HF_HUB_OFFLINE:
            raise LocalEntryNotFoundError("not here")
        return found

    return build


@pytest.mark.usefixtures("online")
def test_what_is_in_the_cache_asks_no_hub():
    assert through_hub("m", lambda: constants.HF_HUB_OFFLINE) is True
    assert constants.HF_HUB_OFFLINE is False


def test_hub_out_of_reach_is_told_at_once(monkeypatch, online):
    # It took a minute of five tries for each file.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        begun = time.perf_counter()
        with pytest.raises(InputError, match="not in the cache, and the hub cannot be reached"):
            through_hub("m", cached_or("weights"))
    assert time.perf_counter() - begun < 3


def test_hub_in_reach_is_asked_for_what_is_not_in_the_cache(monkeypatch, online):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert through_hub("m", cached_or("weights")) == "weights"


def test_error_that_is_not_the_hub_s_passes():
    def build():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        through_hub("m", build)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_tiny_patch16_224.nosuch", "unknown weights of vit_tiny_patch16_224 'nosuch'; choose"),
        ("local-dir:/nowhere", r"no /nowhere/config\.json"),
        ("hf-hub:", "write hf-hub:OWNER/MODEL"),
        ("hf-hub:model", "write hf-hub:OWNER/MODEL"),
    ],
)
@pytest.mark.parametrize("pretrained", [True, False])
def test_tags_and_names_that_lead_nowhere_are_one_line(name, said, pretrained):
    with pytest.raises(InputError, match=said) as refusal:
        load_backbone(name, pretrained=pretrained)
    assert "\n" not in str(refusal.value)


def test_network_that_knows_no_size_takes_it_all_the_same():
    # VGG's builder has neither drop path nor an image size.
    backbone = load_backbone("vgg11", pretrained=False, size=64)
    assert backbone.transform.size == 64


def test_host_that_writes_over_its_patches_takes_ssf():
    with torch.device("meta"):
        model = timm.create_model("naflexvit_base_patch16_gap").eval()
        attachment = attach(model, SSF(), example=torch.zeros(2, 3, 64, 64))
    assert attachment.trainable > 0
