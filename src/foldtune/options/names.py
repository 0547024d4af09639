"""Names that a user may misspell, known without importing torch: of models and of methods.

Importing what builds them takes seconds; a wrong letter is refused in a tenth of one. What is
found here is read out of the sources that declare it, so it is as new as they are.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from foldtune.errors import unknown_name

PACKAGED = ("micro", "lite0", "lite1", "lite2")
_ELSEWHERE = ("hf:", "open_clip:", "hf-hub:", "hf_hub:", "local-dir:")
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.M)
_RENAMED = re.compile(r"^register_model_deprecations\(.*?^\}?\)", re.M | re.S)
_KEY = re.compile(r"""['"](\w+)['"]\s*:""")
_METHOD = re.compile(r"^from foldtune\.methods\.[\w.]+ import ([A-Z]\w*) as", re.M)


def check_model(name: str) -> None:
    """Raise InputError for a model that nobody has, the nearest first."""
    if name.startswith(_ELSEWHERE) or "/" in name or not name.isprintable() or Path(name).is_dir():
        return  # whoever builds it looks
    timm = timm_models()
    if timm and name not in PACKAGED and name.partition(".")[0] not in {*timm, *timm_renamed()}:
        raise unknown_name("model", name, [*PACKAGED, *timm])


def check_method(text: str) -> None:
    """Raise InputError for a method that nobody has, nearest first; its settings are not read."""
    if list(entry_points(group="foldtune.methods")):
        return  # a plug-in's names are known when it is loaded
    for name in re.findall(r"(?:^|\+)\s*([A-Za-z_]\w*)", text):
        if name not in methods():
            raise unknown_name("method", name, methods())


@cache
def methods() -> tuple[str, ...]:
    """Our own methods, in the catalogue's order."""
    listed = Path(__file__).parents[1] / "methods/__init__.py"
    names = _METHOD.findall(listed.read_text(encoding="utf-8"))
    return tuple(name for name in names if name not in ("Method", "Stack"))


def timm_models() -> tuple[str, ...]:
    """The models that timm registers, sorted; none where it is not installed as source."""
    return tuple(sorted({name for text in _sources() for name in _REGISTERED.findall(text)}))


def timm_renamed() -> frozenset[str]:
    """Old names that timm still builds."""
    blocks = (block for text in _sources() for block in _RENAMED.findall(text))
    return frozenset(name for block in blocks for name in _KEY.findall(block))


@cache
def _sources() -> tuple[str, ...]:
    spec = find_spec("timm")  # of a package at the top nothing is imported
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(spec.submodule_search_locations[0]) / "models"
    return tuple(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
