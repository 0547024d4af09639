"""What other people's loops do to an attached model is right or refused, for every method.

The table is written by `benchmarks/situations.py`, which runs every cell; here the quick situations
of one method of each mechanism, and on a host whose attention reads its weights itself.
"""

import gc
import json
import multiprocessing
import socket
from importlib.resources import files

import pytest
import torch.distributed as dist

from foldtune.methods import parse
from foldtune.testing.capabilities import own_methods
from foldtune.testing.hosts import build_host
from foldtune.testing.situations import RIGHT, SITUATIONS, title, verdict
from foldtune.testing.wrappers import (
    compiled_after,
    compiled_then_detached,
    exported,
    sharded_after,
    traced,
)
from lacking import NEEDS_SHARDING

TABLE = json.loads(files("foldtune").joinpath("methods/situations.json").read_text())
SLOW = (compiled_after, compiled_then_detached, exported, traced)  # a second and more each
QUICK = [
    pytest.param(s, id=s.__name__, marks=[NEEDS_SHARDING] if s is sharded_after else [])
    for s in SITUATIONS
    if s not in SLOW
]


def test_table_has_every_method_in_every_situation():
    assert list(TABLE) == list(own_methods())
    assert len(SITUATIONS) >= 25
    names = [s.__name__ for s in SITUATIONS]
    assert all(list(cells) == names for cells in TABLE.values())
    assert len({title(s) for s in SITUATIONS}) == len(names)
    # A refusal says what was refused and why, in one line.
    words = {w for cells in TABLE.values() for w in cells.values()} - {RIGHT}
    assert all(len(w) > 40 and "\n" not in w for w in words)


@pytest.mark.parametrize("situation", QUICK)
@pytest.mark.parametrize("method", ["SSF()", "AdaptFormer()"])
def test_cell_is_what_the_table_says(method, situation):
    assert verdict(situation, parse(method), "vit") == TABLE[method][situation.__name__]


@pytest.mark.parametrize("situation", QUICK)
def test_host_that_reads_its_weights_is_right_or_refused_too(situation):
    verdict(situation, parse("SSF()"), "eva02")


def test_wrong_cell_is_told():
    def moved(method, model, x):
        """Nothing that is right"""
        raise AssertionError("3e-1 apart")

    with pytest.raises(AssertionError, match=r"LoRA\(\) on vit: Nothing that is right: 3e-1 apart"):
        verdict(moved, parse("LoRA()"), "vit")


SHARDED = ("LoRA()", "SSF()", "DoRA()", "AdaptFormer()", "RepAdapter()", "FacTTT()", "Full()")


def sharded(rank, port, methods):
    """Every method, sharded over two processes, against the same in one, which each has beside."""
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        for host in ("vit", "eva02"):
            for name in methods if host == "vit" else methods[:4]:
                sharded_after(parse(name), *build_host(host))
    finally:
        gc.collect()
        dist.destroy_process_group()


@NEEDS_SHARDING
@pytest.mark.usefixtures("one_thread")
def test_two_sharded_processes_train_save_and_merge_as_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")  # importing torch anew would take longest
    runs = [
        context.Process(target=sharded, args=(rank, port, SHARDED), daemon=True) for rank in (0, 1)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(100)
    assert [run.exitcode for run in runs] == [0, 0]
