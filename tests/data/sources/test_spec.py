"""SET:PART@ROOT is taken apart; a path that exists wins; what is wrong is told with the nearest."""

import pytest

from foldtune.data import read_source
from foldtune.data.sources.sets import SETS, read_set
from foldtune.data.sources.spec import parse_spec
from foldtune.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vtab:dtd@/data/vtab", ("vtab", "dtd", {}, "/data/vtab")),
        ("cub@CUB 200", ("cub", "", {}, "CUB 200")),
        ("hf:owner/beans", ("hf", "owner/beans", {}, None)),
        ("imagenet-c:fog,severity=3@c", ("imagenet-c", "fog", {"severity": "3"}, "c")),
        ("files:group=id@a@b.csv", ("files", "", {"group": "id"}, "a@b.csv")),
    ],
)
def test_a_spec_is_taken_apart(text, expected):
    spec = parse_spec(text)
    root = None if spec.root is None else str(spec.root)
    assert (spec.set, spec.part, spec.options, root) == expected


@pytest.mark.parametrize("text", ["photos", "a/b.zip", "C:\\photos", "/data/x", "../x@2"])
def test_a_path_is_no_spec(text):
    assert parse_spec(text) is None


@pytest.mark.parametrize("name", SETS)
def test_the_example_of_every_set_names_it(name):
    assert parse_spec(SETS[name].example).set == name


def test_a_path_that_exists_wins(tmp_path, monkeypatch, make_folder):
    make_folder({"a": 1, "b": 1}, name="cub@x")
    monkeypatch.chdir(tmp_path)
    assert read_source("cub@x").classes == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vtub:dtd@x", "unknown data set 'vtub'; choose from: vtab, "),
        ("vtab:dtb@{}", "unknown task of VTAB-1K 'dtb'; choose from: dtd, "),
        ("vtab:dtd", "does not say where the data lies; write vtab:dtd@FOLDER"),
        ("vtab:dtd@{}/gone", "no folder or .zip at"),
        ("vtab:a,b@x", "names 2 parts"),
        ("files:colour=red@{}", "unknown option of files 'colour'; choose from: "),
        ("files:names=gone.txt@{}", "no file 'gone.txt' for names"),
        ("photos", "no data at 'photos'"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path, make_folder, text, message):
    folder = make_folder({"a": 1, "b": 1})
    with pytest.raises(InputError) as caught:
        read_source(text.format(folder))
    assert message in str(caught.value)


def test_every_loader_refuses_an_empty_folder_by_name(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in SETS:
        text = f"{name}:x@{tmp_path / 'empty'}" if name in ("vtab", "imagenet-c") else None
        with pytest.raises(InputError) as caught:
            read_set(parse_spec(text or f"{name}@{tmp_path / 'empty'}"))
        assert "\n" not in str(caught.value)


def test_a_root_may_be_a_folder_inside_a_zip(make_folder, make_zip):
    packed = make_zip(make_folder({"pacs/photo/a": 1, "pacs/photo/b": 1, "pacs/ink/a": 1}))
    assert len(read_source(f"domains:photo@{packed}/pacs").items) == 2
