"""The hash of tensors by name, and the file that holds them."""

import pytest
import torch
from safetensors import safe_open

from foldtune.core.tensorfile import hash_tensors, write_tensors
from foldtune.errors import InputError


def test_place_that_cannot_be_written_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "t.safetensors", tmp_path):
        with pytest.raises(InputError, match="cannot write"):
            write_tensors({"a": torch.zeros(1)}, path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_hash_is_that_of_the_values_and_not_of_their_layout():
    a = torch.arange(6.0).reshape(2, 3)
    same = a.t().contiguous().t()
    assert not same.is_contiguous()
    assert hash_tensors({"a": a}) == hash_tensors({"a": same})
    assert hash_tensors({"a": a}) == hash_tensors({"a": torch.nn.Parameter(a)})
    assert hash_tensors({"a": a, "b": a}) == hash_tensors({"b": a, "a": a})


def test_hash_differs_on_name_shape_type_and_value():
    a = torch.zeros(2, 3)
    changed = a.clone()
    changed[1, 2] = 1e-30
    others = [
        {"b": a}, {"a": a.reshape(3, 2)}, {"a": a.int()}, {"a": a.half()}, {"a": changed},
        {"a": a, "b": a}, {}, {"a": a[:, :0]}, {"a": -a},
    ]  # fmt: skip
    hashes = [hash_tensors(t) for t in ({"a": a}, *others)]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(3.0), torch.tensor([True]), torch.zeros(0), torch.zeros(2).bfloat16(),
     torch.tensor(7), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 3)[:, ::2]],
)  # fmt: skip
def test_every_tensor_has_a_hash(tensor):
    assert len(hash_tensors({"a": tensor})) == 32


def test_a_file_written_twice_is_the_same_to_the_byte(tmp_path):
    tensors = {f"b{n}.w": torch.full((2, n + 1), float(n)) for n in range(3)}
    metadata = {"format": "pt", "foldtune.merged": '{"name": "\u00e9 "x""}', "a": "1", "b": "2"}
    files = [tmp_path / f"{n}.safetensors" for n in range(8)]
    for file in files:
        write_tensors(tensors, file, metadata)
    assert len({file.read_bytes() for file in files}) == 1  # of 24 orders
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata() == metadata
        assert all(torch.equal(opened.get_tensor(n), t) for n, t in tensors.items())
