"""`import foldtune` offers every name, and imports nothing heavy for it."""

import subprocess
import sys
from pathlib import Path

import foldtune


def test_every_name_is_listed_and_leads_somewhere():
    assert set(foldtune.__all__) <= set(dir(foldtune))
    for name in foldtune.__all__:
        assert getattr(foldtune, name) is not None
    assert not {"TYPE_CHECKING", "sys", "importlib", "annotations"} & set(dir(foldtune))


def test_listing_them_imports_no_torch():
    code = "import sys, foldtune; dir(foldtune); assert not {'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_room_has_the_name_of_a_verb():
    # Python would hang the room where the verb is, as soon as anything of it is imported.
    rooms = {path.stem for path in Path(foldtune.__file__).parent.iterdir()}
    assert rooms & set(foldtune.__all__) == {"methods"}
