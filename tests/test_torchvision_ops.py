"""torchvision imports beside a CPU torch, and a matched pair is left alone."""

import os
import subprocess
import sys

import pytest

from foldtune.torchvision_ops import _own_operators_load


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def _run_each(*codes: str) -> None:
    """Each in a process that has imported torch alone: forks of one, where there are forks."""
    if not hasattr(os, "fork"):
        for code in codes:
            done = _run(f"import torch\n{code}")
            assert done.returncode == 0, done.stderr
        return
    done = _run(
        "import os, torch\n"
        f"for code in {codes!r}:\n"
        "    if os.fork() == 0:\n"
        "        exec(code)\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == 0, code\n"
    )
    assert done.returncode == 0, done.stderr


def test_torchvision_imports_after_the_declaration_and_nothing_is_declared_twice():
    """timm, which imports torchvision, in `test_importing_foldtune_first_is_enough_for_timm`."""
    _run_each(
        "from foldtune.torchvision_ops import declare_missing_operators as declare\n"
        "declare(); import torchvision\n"
        "from torchvision.transforms import v2\n",
        "from foldtune.torchvision_ops import declare_missing_operators as declare\n"
        "declare(); assert declare() == ()\n",
        # A stand-in for a matched pair: the operators are there before we look.
        "own = torch.library.Library('torchvision', 'DEF')\n"
        "own.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "own.define('qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "import foldtune.torchvision_ops as ops\n"
        "ops._own_operators_load = lambda: hasattr(torch.ops.torchvision, 'nms')\n"
        "assert ops.declare_missing_operators() == ()\n",
    )


def test_importing_foldtune_first_is_enough_for_timm():
    # The mend ran when foldtune built a model, so `import timm` before that died of a mismatch.
    done = _run(
        "import sys, foldtune; assert 'torch' not in sys.modules\n"
        "import timm; from torchvision.transforms import v2\n"
        "assert not any(type(f).__name__ == '_Ahead' for f in sys.meta_path)\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(_own_operators_load(), reason="this torchvision declares its own operators")
def test_whoever_declared_them_first_or_declares_them_after_us_is_no_conflict():
    # A script with a mend of its own died in ours: one namespace takes one definition.
    theirs = (
        "own = torch.library.Library('torchvision', 'DEF')\n"
        "for op in ('nms', 'qnms'):\n"
        "    try: own.define(op + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "    except RuntimeError: pass\n"
    )
    done = _run(f"import foldtune\nimport torch\n{theirs}import torchvision\n")
    assert done.returncode == 0, done.stderr
    declare = (
        "from foldtune.torchvision_ops import declare_missing_operators as declare\ndeclare()\n"
    )
    _run_each(
        f"{theirs}import foldtune\nimport torchvision\n", f"{declare}{theirs}import torchvision\n"
    )
