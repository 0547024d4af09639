"""What the site has beyond the files of docs/: README as its home, notebooks as pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Links from README go to docs/, those of docs/ to the rest of the repository, which is not here.
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./|(?!docs/|https?:|#|[\w./-]+\.(?:md|html)\b))[^)]*\)")
_ROOT_FILE = re.compile(r"\[([^\]]+)\]\((?!docs/|https?:|#)[^)]*\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the home page and a page a notebook."""
    home = _ROOT_FILE.sub(r"\1", (ROOT / "README.md").read_text(encoding="utf-8"))
    home = home.replace("](docs/", "](").replace('src="docs/', 'src="')
    files.append(File.generated(config, "index.md", content=home))
    for path in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        name = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=_as_page(path)))
    return files


def on_page_markdown(markdown: str, **_more: Any) -> str:
    """Of links that leave the site the words alone."""
    return _OUTSIDE.sub(r"\1", markdown)


def _as_page(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + f"\n\nAs a notebook: `docs/notebooks/{path.name}`.\n"
