import errno
import json
import os
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from foldtune.core import tensorfile
from foldtune.core.attach import attach
from foldtune.core.method import written_out
from foldtune.core.tuningfile import check_base, read, save
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, BitFit, Full, LinearProbe, LoRA, parse
from foldtune.testing import build_host

from .tiny import distilled_host, shift, vit


def trained(method=None, host=vit, **settings):
    model, x = host()
    attachment = attach(model, method or LoRA(rank=2), example=x, num_classes=7, seed=0)
    shift(attachment)
    return attachment, x


@pytest.fixture
def file(tmp_path):
    return save(trained()[0], tmp_path / "tuning.safetensors")


@pytest.mark.parametrize(
    "method", [LoRA(rank=2), SSF() + BitFit(), AdaptFormer(rank=2), Full(), LinearProbe()]
)
@pytest.mark.parametrize("host", [vit, distilled_host, lambda: build_host("resnet")])
def test_round_trip_gives_the_same_outputs(method, host, tmp_path):
    if host not in (vit, distilled_host) and isinstance(method, LoRA | AdaptFormer):
        return  # refused there
    attachment, x = trained(method, host)
    wanted = attachment.model(x)
    header, tensors = read(save(attachment, tmp_path / "new" / "folder" / "t.safetensors"))
    fresh, _ = host()
    again = attach(
        fresh, parse(header["method"]), example=x, num_classes=header["num_classes"],
        head=header["head"],
    )  # fmt: skip
    check_base(header, again)
    again.load_tensors(tensors)
    assert torch.equal(fresh(x), wanted)


def test_file_holds_the_tuning_once_and_a_readable_header(file):
    header, tensors = read(file)
    assert header["method"] == written_out(LoRA(rank=2))
    assert header["head"] == ["head"]
    assert header["num_classes"] == 7
    assert set(tensors) == {
        "head.weight", "head.bias",
        *(f"LoRA.blocks.{i}.attn.qkv.lora_{x}" for i in range(2) for x in "AB"),
    }  # fmt: skip
    with safe_open(file, "pt") as opened:
        written = json.loads(opened.metadata()["foldtune"])
    assert len(written.pop("hash")) == 32
    assert written == header


def test_facts_are_kept_and_cannot_replace_the_header(tmp_path):
    attachment, _ = trained()
    facts = {"classes": ["a", "b"], "backbone": {"name": "tiny"}}
    header, _ = read(save(attachment, tmp_path / "t.safetensors", facts))
    assert {k: header[k] for k in facts} == facts
    with pytest.raises(InputError, match="header says its own 'base_hash'"):
        save(attachment, tmp_path / "u.safetensors", {"base_hash": "0"})


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.5, 0.9, -1])
def test_truncated_file_is_refused(file, kept):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole)) if 0 < kept < 1 else kept])
    with pytest.raises(InputError, match="truncated or no safetensors file"):
        read(file)


def test_longer_file_is_refused(file):
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InputError, match="truncated or no safetensors file"):
        read(file)


@pytest.mark.parametrize("where", ["nowhere.safetensors", "."])
def test_missing_file_is_refused(tmp_path, where):
    with pytest.raises(InputError, match="no tuning file at"):
        read(tmp_path / where)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 a zip", b"\x80\x02 a pickle", b"{}", b"\x00" * 64]
)
def test_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="no safetensors file"):
        read(tmp_path / "t.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_of_others_are_refused(tmp_path, metadata):
    save_file({"a": torch.zeros(2)}, tmp_path / "t.safetensors", metadata)
    with pytest.raises(InputError, match="is a safetensors file, but no foldtune tuning"):
        read(tmp_path / "t.safetensors")


@pytest.mark.parametrize("header", ["", "{", "[]", "3", "{}", '{"format": "one"}', '{"format": 1}'])
def test_damaged_header_is_refused(tmp_path, header):
    save_file({"a": torch.zeros(2)}, tmp_path / "t.safetensors", {"foldtune": header})
    with pytest.raises(InputError, match="damaged header"):
        read(tmp_path / "t.safetensors")


def test_newer_format_is_refused_with_the_version_to_install(tmp_path):
    header = json.dumps({"format": 99, "foldtune": "9.1"})
    save_file({"a": torch.zeros(2)}, tmp_path / "t.safetensors", {"foldtune": header})
    with pytest.raises(InputError, match=r"format 99; .* up to 4\. Install foldtune 9\.1 or later"):
        read(tmp_path / "t.safetensors")


# -- the backbone it was made for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (lambda: vit(embed_dim=32), r"cls_token: \[1, 1, 24\] in the tuning, \[1, 1, 32\] here"),
        (lambda: vit(depth=1), r"blocks\.1\.norm1\.weight: \[24\] in the tuning, absent here"),
        (lambda: vit(depth=3), r"blocks\.2\.norm1\.weight: absent in the tuning, \[24\] here"),
        (lambda: build_host("beit"), r"pos_embed: \[1, 17, 24\] in the tuning, absent here"),
    ],
)
def test_first_difference_to_another_architecture_is_named(file, host, words):
    model, x = host()
    attachment = attach(model, LoRA(rank=2), example=x, num_classes=7)
    with pytest.raises(InputError, match=rf"made for another backbone; the first .* is {words}"):
        check_base(read(file)[0], attachment)


def test_other_weights_of_the_same_shapes_are_told(tmp_path):
    attachment, _ = trained()
    path = save(attachment, tmp_path / "t.safetensors", {"backbone": {"name": "tiny_vit"}})
    model, x = vit()
    with torch.no_grad():
        model.norm.bias[3] += 1e-12
    other = attach(model, LoRA(rank=2), example=x, num_classes=7)
    with pytest.raises(InputError, match=r"made for other weights of tiny_vit \(same shapes"):
        check_base(read(path)[0], other)


def test_backbone_is_known_by_its_weights_and_not_by_its_classifier(file):
    model, x = vit()
    model.reset_classifier(3)
    model.double()  # timm 1.0.26 makes the new layer in float32 whatever the others are
    check_base(read(file)[0], attach(model, LoRA(rank=2), example=x, num_classes=7))


@pytest.mark.parametrize("method", [Full(), SSF() + Full(), BitFit()])
def test_backbone_is_known_however_far_it_was_trained(method, tmp_path):
    attachment, x = trained(method)
    header, _ = read(save(attachment, tmp_path / "t.safetensors"))
    check_base(header, attach(vit()[0], method, example=x, num_classes=7))


# -- writing ---------------------------------------------------------------------------------------


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["save_file", "os.replace"])
@pytest.mark.parametrize("existing", [True, False])
def test_full_disk_is_told_and_leaves_nothing_or_the_old_file(
    tmp_path, monkeypatch, where, existing
):
    attachment, _ = trained()
    path = tmp_path / "t.safetensors"
    if existing:
        save(attachment, path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    shift(attachment)
    owner = tensorfile if where == "save_file" else os
    monkeypatch.setattr(owner, where.removeprefix("os."), full_disk)
    with pytest.raises(InputError, match=r"cannot write .*: no space left on the device"):
        save(attachment, path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(tensors, path, metadata):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tensorfile, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(trained()[0], tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_tuning_saved_twice_is_the_same_file(tmp_path):
    # safetensors writes several fields of metadata in another order in each process.
    attachment, _ = trained()
    one, two = (save(attachment, tmp_path / name).read_bytes() for name in "ab")
    assert one == two
    with safe_open(tmp_path / "a", "pt") as file:
        assert list(file.metadata()) == ["foldtune"]


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_is_refused(seed, file):
    whole, draw = file.read_bytes(), random.Random(seed)
    for _ in range(40):
        data = bytearray(whole)
        bit = draw.randrange(8 * len(data) if draw.random() < 0.5 else 8 * 4000)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        with pytest.raises(InputError):
            read(file)
