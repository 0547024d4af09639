import numpy as np
import pytest
import torch

from foldtune.errors import InputError
from foldtune.training.batches import Data, epoch_batches, steps_per_epoch
from foldtune.training.recipe import Recipe

from .tiny import images


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [8, 8, 8, 8, 4]), (True, [8, 8, 8, 8])])
def test_an_epoch_is_a_permutation_of_the_rows(drop_last, sizes):
    rows = np.arange(100, 136)
    recipe = Recipe(batch_size=8, drop_last=drop_last)
    batches = list(epoch_batches(rows, recipe, seed=0, epoch=1))
    assert [len(batch) for batch in batches] == sizes
    assert steps_per_epoch(36, recipe) == len(sizes)
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(rows)
    assert list(seen) != sorted(seen)


def test_order_changes_with_seed_and_epoch_only():
    recipe, rows = Recipe(batch_size=36), np.arange(36)
    first, again, epoch, seed = (
        next(epoch_batches(rows, recipe, seed, epoch)).tolist()
        for seed, epoch in [(0, 1), (0, 1), (0, 2), (1, 1)]
    )
    assert first == again
    assert first != epoch
    assert first != seed


@pytest.mark.parametrize("count", [35, 36, 33])
def test_processes_share_each_global_batch_evenly(count):
    recipe, rows = Recipe(batch_size=8), np.arange(count)
    alone = list(epoch_batches(rows, recipe, 0, 1))
    shares = [list(epoch_batches(rows, recipe, 0, 1, rank=rank, processes=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == steps_per_epoch(count, recipe, 2)
    for whole, left, right in zip(alone, *shares, strict=False):
        assert len(left) == len(right) > 0
        assert {*left, *right} <= set(whole)
        assert len(whole) - len(left) - len(right) == len(whole) % 2


def test_an_epoch_without_a_batch_is_refused():
    with pytest.raises(InputError, match="7 images an epoch make no batch of batch_size=8"):
        steps_per_epoch(7, Recipe(batch_size=8, drop_last=True))
    with pytest.raises(InputError, match="smaller than the 4 processes"):
        steps_per_epoch(7, Recipe(batch_size=2), 4)


@pytest.mark.parametrize(("processes", "sizes"), [(1, [13, 14]), (2, [6, 7])])
def test_an_image_left_over_is_joined_to_the_batch_before(processes, sizes):
    # 27 images by 13: the last batch of one has no variance, and a BatchNorm ends in a traceback.
    recipe, rows = Recipe(batch_size=13 - 13 % processes), np.arange(sum(sizes) * processes)
    for rank in range(processes):
        share = {"rank": rank, "processes": processes, "least": 2}
        batches = list(epoch_batches(rows, recipe, 0, 1, **share))
        assert [len(batch) for batch in batches] == sizes
        assert len(batches) == steps_per_epoch(len(rows), recipe, processes, 2)
    plain = np.concatenate(list(epoch_batches(rows, recipe, 0, 1)))
    assert np.array_equal(np.concatenate(list(epoch_batches(rows, recipe, 0, 1, least=2))), plain)


@pytest.mark.parametrize(("count", "size"), [(1, 8), (8, 1)])
def test_one_image_a_step_is_refused_where_statistics_move(count, size):
    with pytest.raises(InputError, match="needs 2 images a step"):
        steps_per_epoch(count, Recipe(batch_size=size), least=2)
    assert steps_per_epoch(count, Recipe(batch_size=size)) == count


def test_rows_are_loaded_with_their_labels_from_a_memmap(tmp_path):
    pixels, labels, indices = images()
    np.save(tmp_path / "pixels.npy", pixels)
    stored = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    rows = indices[[5, 2]]
    batch, targets = Data(stored, labels.astype(np.uint8), indices).load(rows, torch.device("cpu"))
    assert batch.dtype == torch.uint8
    assert targets.dtype == torch.int64
    assert np.array_equal(batch.numpy(), pixels[rows])
    assert targets.tolist() == labels[rows].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, l, i: (p.astype(np.float64), l, i), "pixels are float64"),
        (lambda p, l, i: (p.transpose(0, 3, 1, 2), l, i), r"shape \(40, 3, 16, 16\)"),
        (lambda p, l, i: (p, l[:-1], i), r"labels are int64 of shape \(39,\)"),
        (lambda p, l, i: (p, l / 1, i), "labels are float64"),
        (lambda p, l, i: (p, l, i[:0]), r"indices are int64 of shape \(0,\)"),
        (lambda p, l, i: (p, l, i > 9), "indices are bool"),
        (lambda p, l, i: (p, l, i + 1), "from 5 to 40; the images are 0 to 39"),
        (lambda p, l, i: (p, l - 9, i), "is negative"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Data(*change(*images()))
