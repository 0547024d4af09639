"""The library leaves the process as it is; the command line does not, and says what it changes."""

import platform
import subprocess
import sys

import pytest

GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")


def in_a_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


# Everything the package offers is asked for, and a model is trained.
LIBRARY = """
import gc, sys
looked_up = []
sys.addaudithook(lambda event, told: event == "ctypes.dlsym" and looked_up.append(told[1]))
import torch
own = torch.compiler.disable, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
import foldtune
for name in foldtune.__all__:
    getattr(foldtune, name)
import numpy as np
from foldtune.augment.batch import to_float
from foldtune.training.loop import train
backbone = foldtune.load_backbone("micro", size=16)
attachment = foldtune.attach(backbone, foldtune.methods.SSF(), num_classes=2)
pixels = np.zeros((4, 16, 16, 3), np.uint8)
recipe = foldtune.Recipe(epochs=1, warmup_epochs=0.0, batch_size=4)
prepare = lambda batch, generator: to_float(batch, (0.5,) * 3, (0.5,) * 3)
train(attachment.model, pixels, np.arange(4) % 2, np.arange(4), recipe, prepare=prepare, seed=0)
assert (torch.compiler.disable, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == own
assert "mallopt" not in looked_up, looked_up
late = sys.modules.get("torch._dynamo.utils")
assert late is None or late.__spec__ is not None
"""


def test_the_library_changes_nothing_in_the_process_that_imports_it():
    done = in_a_process(LIBRARY)
    assert done.returncode == 0, done.stderr


HOSTS = """
import sys, torch
own = torch.compiler.disable
from foldtune.startup import import_hosts
import_hosts()
from foldtune.cli import main
sys.argv = ["foldtune", "sites", "micro"]
main()
assert "timm" in sys.modules and "torch._dynamo" not in sys.modules
from foldtune.backbones import load_backbone
model = load_backbone("micro", size=16).model
assert "torch._dynamo" not in sys.modules and "torch._dynamo.utils" not in sys.modules
assert own is torch.compiler.disable and own.__module__ == "torch.compiler"
from torchvision.ops import roi_align
assert sys.modules[roi_align.__module__].is_compile_supported("cpu") in (True, False)
assert "torch._dynamo.utils" in sys.modules
from timm.models.naflexvit import NaFlexVit
compiled = torch.compile(model, backend="eager", fullgraph=True)
x = torch.rand(2, 3, 16, 16)
assert torch.equal(compiled(x), model(x))
"""


def test_hosts_and_a_verb_on_one_do_without_the_compiler_which_works_when_asked():
    # Loading it doubled the time to the first answer of `foldtune inspect`.
    done = in_a_process(HOSTS)
    assert done.returncode == 0, done.stderr


# What a process does not give back stays on the C library's own heap, which it counts. A block is
# mapped apart at first, and given back when it is freed.
MEMORY = """
import ctypes
from foldtune.startup import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
number = ctypes.c_size_t if hasattr(libc, "mallinfo2") else ctypes.c_int
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = list(zip(names.split(), [number] * 10))
info = getattr(libc, "mallinfo2", None) or libc.mallinfo
info.restype = Info
SIZE = 56 * 2**20  # above the largest threshold of mapping apart; 64 images' activation of lite0

mapped = info().hblks
libc.malloc(SIZE)  # freeing it would teach the library to keep such ones
apart = info().hblks - mapped
keep_freed_memory()
mapped = info().hblks
block = libc.malloc(SIZE)
kept_apart, heap = info().hblks - mapped, info().arena
libc.free(block)
print(apart, kept_apart, info().arena >= heap)
"""


@GLIBC
def test_freed_memory_stays_with_the_process():
    done = in_a_process(MEMORY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "0", "True"]
