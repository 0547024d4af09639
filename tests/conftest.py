"""Test-wide settings: quiet, offline, and by default one thread (two workers share two cores)."""

import gc
import os
from contextlib import nullcontext

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# NumPy's and SciPy's products: two workers with two threads each would wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The same of torch, in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from foldtune.torchvision_ops import declare_missing_operators
from rounding import rounded_otherwise

declare_missing_operators()


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="threads of torch in each test process")
    parser.addoption(
        "--other-rounding", action="store_true", help="last bits as another processor may give them"
    )


def pytest_configure(config):
    torch.set_num_threads(config.getoption("--threads"))


def pytest_collection_finish():
    """Python's collector passes over what stays to the end: modules, and the collected tests.

    It looked at half a million objects of libraries in each full round, a tenth of all time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def one_thread():
    """A forked child that computes on several threads may wait for its parent's for ever."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _rounding(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with _rounding(item):
        return (yield)


def _rounding(item):
    asked = item.config.getoption("--other-rounding")
    return rounded_otherwise(item.nodeid) if asked else nullcontext()
