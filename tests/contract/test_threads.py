"""Two threads that serve one model with images of their own get what one thread gets."""

import os
import sys
import threading

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.methods import parse
from foldtune.testing import build_host
from foldtune.testing.capabilities import own_methods

BATCHES = int(os.environ.get("FOLDTUNE_THREAD_BATCHES", "60"))  # 10,000 take minutes
# Every method on a plain host, and each mechanism on one whose attention reads its tensors.
PAIRS = [
    *((method, "vit") for method in own_methods() if method != "ConvAdapter()"),
    *((method, "vit") for method in ("VeRA(rank=4)", "OFT(size=6)")),
    *((method, "eva02") for method in ("SSF()", "LoRA(rank=2)", "DoRA(rank=2)", "AdaptFormer()")),
]


def wrong_batches(method, host, batches):
    """How many of `batches`, half in each of two threads, differ from what one thread gave."""
    model, x = build_host(host)
    attachment = attach(model, parse(method), example=x, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * 0.1)
    images = [torch.rand(x.shape, generator=generator).to(x) for _ in range(3)]
    with torch.no_grad():
        alone = [model(i) for i in images]
    wrong = []

    def serve(first):
        with torch.no_grad():
            for n in range(first, first + batches // 2):
                # Torch may share an image's sums among threads otherwise: equal but for rounding.
                if not torch.allclose(model(images[n % 3]), alone[n % 3], rtol=0, atol=1e-10):
                    wrong.append(n)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads change places within a layer
    try:
        threads = [threading.Thread(target=serve, args=(k,)) for k in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return len(wrong)


@pytest.mark.parametrize(("method", "host"), PAIRS)
def test_two_threads_get_what_one_gets(method, host):
    assert wrong_batches(method, host, BATCHES) == 0
