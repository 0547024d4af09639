"""A CSV and a parquet of paths and labels list the same; a wrong cell is told by its row."""

import sys

import pyarrow
import pyarrow.parquet
import pytest

from data.conftest import encoded
from foldtune.data import read_source
from foldtune.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Write a table of the given text, and the picture of every path in it."""

    def make(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    (tmp_path / "images").mkdir()
    for i in range(4):
        (tmp_path / "images" / f"{i}.png").write_bytes(encoded(i))
    return make


ROWS = "images/0.png,cat\nimages/1.png,dog\nimages/2.png,cat\n"


def test_a_csv_lists_its_rows(write):
    listing = read_source(write("path,label\n" + ROWS))
    assert listing.classes == ("cat", "dog")
    assert [item.label for item in listing.items] == [0, 1, 0]
    assert listing.open("images/1.png") == encoded(1)


def test_a_changed_picture_changes_its_own_stamp(write, tmp_path):
    table = write("path,label\n" + ROWS)
    before = read_source(table)
    (tmp_path / "images" / "1.png").write_bytes(encoded(9) + b" ")
    after = read_source(table)
    assert len(set(before.stamps)) == 3
    changed = [a != b for a, b in zip(before.stamps, after.stamps, strict=True)]
    assert changed == [False, True, False]
    assert before.origin == after.origin == str(tmp_path)


def test_a_parquet_says_what_to_install_where_pyarrow_is_absent(tmp_path, monkeypatch):
    (tmp_path / "table.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"table\.parquet needs .* install 'foldtune\[parquet\]'"):
        read_source(tmp_path / "table.parquet")


def test_a_parquet_lists_the_same(write, tmp_path):
    table = {"label": ["cat", "dog", "cat"], "path": [f"images/{i}.png" for i in range(3)]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "table.parquet")
    from_csv = read_source(write("path,label\n" + ROWS))
    assert read_source(tmp_path / "table.parquet").items == from_csv.items


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_byte_order_marks_are_known(write, separator, encoding):
    text = ("Path,Label,note\n" + ROWS.replace("\n", ",x\n")).replace(",", separator)
    assert len(read_source(write(text, encoding=encoding)).items) == 3


def test_numbers_are_sorted_as_numbers(write):
    listing = read_source(write("path,label\nimages/0.png,10\nimages/1.png,9\nimages/2.png,9\n"))
    assert listing.classes == ("9", "10")


def test_words_that_read_as_numbers_are_words(write):
    listing = read_source(write("path,label\nimages/0.png,nan\nimages/1.png,inf\n"))
    assert listing.classes == ("inf", "nan")


def test_whole_floats_of_a_parquet_are_integers(write, tmp_path):
    table = {"path": ["images/0.png", "images/1.png"], "label": [2.0, 10.0]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "table.parquet")
    assert read_source(tmp_path / "table.parquet").classes == ("2", "10")


def test_a_split_column_is_read(write):
    text = "path,label,split\nimages/0.png,a,Train\nimages/1.png,b,train\nimages/2.png,a,valid\n"
    assert [item.split for item in read_source(write(text)).items] == ["train", "train", "val"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("path,label\n", "no row"),
        ("file,kind\nx,y\n", "no column path and no column label; its columns are: file, kind"),
        ("path,klass\nx,y\n", "no column label; its columns are: path, klass"),
        ("path,label\nimages/0.png,cat\nimages/1.png,\n", "row 2 has no label"),
        ("path,label\n,cat\n", "row 1 has no path"),
        ("path,label\nimages/0.png,cat\nimages/1.png\n", "row 2 has 1 cells"),
        ("path,label,split\na.png,x,train\nb.png,y,odd\n", "row 2 has the split 'odd'"),
        ("path,label,split\na.png,x,train\nb.png,y,\n", "row 2 has the split ''"),
    ],
)
def test_a_wrong_table_is_refused_with_its_place(write, text, part):
    with pytest.raises(InputError, match=part) as caught:
        read_source(write(text))
    assert "\n" not in str(caught.value)


def test_a_csv_in_another_encoding_is_refused(write):
    with pytest.raises(InputError, match="save it as UTF-8"):
        read_source(write("path,label\ncafé.png,x\n", encoding="latin-1"))


def test_a_file_that_is_no_parquet_is_refused(write):
    with pytest.raises(InputError, match="not a readable parquet"):
        read_source(write("path,label\n", name="table.parquet"))


def test_an_empty_cell_of_a_parquet_is_refused(tmp_path):
    table = {"path": ["a.png", "b.png"], "label": ["x", None]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "table.parquet")
    with pytest.raises(InputError, match="row 2 has no label"):
        read_source(tmp_path / "table.parquet")
