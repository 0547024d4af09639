"""Every method on every tiny host keeps every promise of the contract, or refuses with a reason."""

import pytest

from foldtune.errors import InputError
from foldtune.methods import parse
from foldtune.testing import (
    CHECKS,
    TINY_HOSTS,
    build_host,
    check_compile,
    check_export,
    check_method,
)

METHODS = (
    "LinearProbe()",
    "Full()",
    "BitFit()",
    "LayerNorm()",
    "SSF()",
    "LoRA(rank=2)",
    "LoRA(rank=2, alpha=4.0, targets=('mlp.up', 'mlp.down'))",
    "AdaptFormer(rank=3)",
    "SSF() + LoRA(rank=2) + BitFit()",
)
# Methods on the same mechanisms: every check on the plain host. On the others the table of
# capabilities is tried again (tests/testing/test_capabilities.py): gradients, merging, detaching.
MORE_METHODS = (
    "LoRA(rank=2, separate='qv')",
    "Pfeiffer(rank=3)",
    "Houlsby(rank=3)",
    "AdapterPlus(rank=3)",
    "DiffFit()",
    "RepAdapter(rank=4)",
    "VPTShallow(count=3)",
    "VPTDeep(count=3)",
    "FacTTT(rank=3)",
    "FacTTK(rank=3)",
    "Convpass(rank=3)",
    "ARC(rank=3)",
    "Consolidator(groups=4, shuffle=True)",
    "DoRA(rank=2)",
    "IA3()",
    "IA3(outputs=('attn.in', 'mlp.up'), inputs=('mlp.down',))",
    "LastBlocks(count=2)",
    "ConvAdapter(reduction=2)",
    "Stem()",
)
# What cannot be, with words of the refusal: convolutional nets have no attention, ResNet no MLP.
REFUSED = {
    ("LoRA(rank=2, alpha=4.0, targets=('mlp.up', 'mlp.down'))", "resnet"): "finds none",
    ("AdaptFormer(rank=3)", "resnet"): "needs blocks with an MLP",
    ("LoRA(rank=2, separate='qv')", "convnext"): "finds none of its targets",
    ("LoRA(rank=2, separate='qv')", "resnet"): "finds none of its targets",
    ("LoRA(rank=2, separate='qv')", "mixer"): "needs q, k, v in one matrix",
    ("Pfeiffer(rank=3)", "resnet"): "needs blocks with an MLP",
    ("Houlsby(rank=3)", "resnet"): "has no attention",
    ("Houlsby(rank=3)", "convnext"): "has no attention",
    ("Houlsby(rank=3)", "mixer"): "has no attention",
    ("DiffFit()", "resnet"): "needs blocks with an MLP",
    **{
        (f"FacT{form}(rank=3)", host): "needs one width|cuts matrices into squares"
        for form in ("TT", "TK")
        for host in ("swin", "swinv2", "convnext", "resnet", "mixer", "eva02")
    },
    **{
        (f"VPT{form}(count=3)", host): reason
        for form in ("Shallow", "Deep")
        for host, reason in {
            "swin": r"gives \(batch, height, width, channels\)",
            "swinv2": r"gives \(batch, height, width, channels\)",
            "convnext": r"gives \(batch, channels, height, width\)",
            "resnet": r"gives \(batch, channels, height, width\)",
            "mixer": "fixed number of tokens",
            "eva02": "rotary",
            "beit": "relative position bias",
        }.items()
    },
    ("Convpass(rank=3)", "swin"): "gives no rows of tokens",
    ("Convpass(rank=3)", "swinv2"): "gives no rows of tokens",
    ("Convpass(rank=3)", "convnext"): "gives no rows of tokens",
    ("Convpass(rank=3)", "resnet"): "no attention and no MLP of it",
    ("Convpass(rank=3)", "mixer"): "token mixer",
    ("ARC(rank=3)", "resnet"): "needs attention or an MLP",
    ("Consolidator(groups=4, shuffle=True)", "resnet"): "needs attention or an MLP",
    ("IA3()", "resnet"): "needs attention or an MLP",
    ("IA3(outputs=('attn.in', 'mlp.up'), inputs=('mlp.down',))", "resnet"): "IA3 finds none of",
    **{
        ("ConvAdapter(reduction=2)", host): "needs k x k convolutions"
        for host in ("vit", "swin", "swinv2", "eva02", "beit", "mixer")
    },
}
# Tracing takes seconds: every method is exported from the plain host and compiled there, but for
# those whose code is another one's; then SSF, which computes weights and works in calls, on a host
# that reads its weights itself and on one of feature maps.
# benchmarks/capabilities.py traces them all.
ALIKE = (
    "LoRA(rank=2, separate='qv')", "Pfeiffer(rank=3)", "Houlsby(rank=3)", "DiffFit()",
    "RepAdapter(rank=4)", "FacTTK(rank=3)", "Consolidator(groups=4, shuffle=True)",
    "IA3(outputs=('attn.in', 'mlp.up'), inputs=('mlp.down',))", "LastBlocks(count=2)",
    "ConvAdapter(reduction=2)", "Stem()",
)  # fmt: skip
ON_VIT = tuple(m for m in (*METHODS, *MORE_METHODS) if m not in ALIKE)
TRACED_ON = {"vit": ON_VIT, "swinv2": ("SSF()",), "convnext": ("SSF()",)}
TRACED = (check_export, check_compile)
# Windows, feature maps with and without an MLP, an attention that reads its weights itself.
OTHERS = ("swin", "convnext", "resnet", "eva02")
PAIRS = [
    (check, method, host)
    for check in CHECKS
    for method in (*METHODS, *MORE_METHODS)
    for host in TINY_HOSTS
    if (
        method in TRACED_ON.get(host, ())
        if check in TRACED
        else host == "vit" or (method in METHODS and host in OTHERS)
    )
]
PROMISES = [
    pytest.param(check, method, host, id=f"{check.__name__.removeprefix('check_')}-{method}-{host}")
    for check, method, host in PAIRS
    if (method, host) not in REFUSED
]


@pytest.mark.parametrize(("check", "method", "host"), PROMISES)
def test_promise_holds(check, method, host):
    check(parse(method), *build_host(host))


@pytest.mark.parametrize(("method", "host"), list(REFUSED))
def test_impossible_pair_is_refused_and_leaves_no_trace(method, host):
    model, x = build_host(host)
    drawn, before = repr(model), {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=REFUSED[method, host]):
        CHECKS[1](parse(method), model, x)
    assert repr(model) == drawn
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_check_method_reports_each_host():
    told = check_method(parse("VPTShallow(count=1)"), ["resnet", "vit"])
    assert told["vit"] == "passed"
    assert "(batch, channels, height, width)" in told["resnet"]
