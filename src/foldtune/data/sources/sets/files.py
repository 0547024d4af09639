"""Any path with options behind it: `files:group=patient@scans.csv`."""

from __future__ import annotations

from foldtune.data.sources.listing import Listing
from foldtune.data.sources.paths import read_path
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.trees import split_zip
from foldtune.errors import InputError


def read(spec: Spec) -> Listing:
    """List a folder, zip, table or array file by its path."""
    root = spec.folder()
    if spec.part:
        raise InputError(f"files takes options only, such as names=FILE, not {spec.part!r}")
    if not root.exists() and split_zip(root) is None:
        raise InputError(f"no data at {str(root)!r}; check the path")
    return read_path(root, spec.options.get("group"))
