"""Real sets through the readers of sets by name."""

from foldtune.data import read_source
from foldtune.data.sources.sets import set_parts
from foldtune.data.sources.spec import parse_spec


def test_the_pacs_zip_is_four_domains(outside_set):
    path = outside_set("pacs-128.zip")
    parts = set_parts(parse_spec(f"domains@{path}"))
    assert [spec.part for spec in parts] == ["art_painting", "cartoon", "photo", "sketch"]
    assert len(read_source(f"domains:photo@{path}").items) == 1670
