"""Two processes on one batch train as one does; forked, since importing torch is dear."""

import multiprocessing
import os
import socket

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from foldtune.training.loop import train

from .tiny import RECIPE, images, prepare, vit


def trained(path=None, environment=None):
    """Train without anything random but the order; save what it gave."""
    os.environ.update(environment or {})
    AcceleratorState._reset_state(reset_partial_state=True)
    model, seen, drawn = vit(proj_drop_rate=0), [], []

    def watched(batch, generator):
        seen.append(len(batch))
        drawn.append(torch.rand((), generator=generator).item())
        return prepare(batch, None)

    outcome = train(model, *images(), RECIPE, prepare=watched, seed=0, device="cpu")
    head = model.head.weight.detach().numpy()
    result = [outcome.curve[-1]["loss"], head, np.array(seen), np.array(drawn)]
    if path is not None:
        np.savez(path, *result)
    return result


@pytest.mark.usefixtures("one_thread")
def test_two_processes_on_one_global_batch_train_as_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    runs = []
    for rank in "01":
        environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"}
        environment |= {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        runs.append(
            multiprocessing.get_context("fork").Process(
                target=trained, args=(tmp_path / f"{rank}.npz", environment), daemon=True
            )
        )
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    ours, other = (list(np.load(tmp_path / f"{rank}.npz").values()) for rank in "01")
    loss, head, seen, drawn = ours
    assert loss == other[0]
    assert np.array_equal(head, other[1])
    assert not set(drawn) & set(other[3]), "each process augments its own images by its own draws"
    alone = trained()
    assert seen.tolist() == [size // 2 for size in alone[2]]
    # Sums over eight images against the mean of two sums over four: float32 rounding.
    assert loss == pytest.approx(alone[0], rel=1e-5)
    assert torch.allclose(torch.tensor(head), torch.tensor(alone[1]), atol=1e-5)
