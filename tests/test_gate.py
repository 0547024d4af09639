"""What passes the gate has the types and sizes that were asked for; what does not is named."""

import json

import pytest

from foldtune import gate
from foldtune.errors import InputError

SHAPE = gate.fields(
    {"size": gate.integer(1, 100)},
    {
        "names": gate.list_of(gate.text(5), 3),
        "rate": gate.number(0, 1),
        "by": gate.mapping_of(gate.nullable(gate.flag), 2),
        "any": gate.either(gate.flag, gate.text(3)),
    },
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "here: it must be an object, not a list of 0 entries"),
        ({}, "here: it must be an object with the field 'size'"),
        ({"size": 0}, "here: size must be a whole number from 1 to 100, not 0"),
        ({"size": 10**12}, "here: size must be a whole number from 1 to 100"),
        ({"size": True}, "here: size must be a whole number"),
        ({"size": 1.0}, "here: size must be a whole number"),
        ({"size": "1"}, "here: size must be a whole number"),
        ({"size": 1, "names": None}, "here: names must be a list of at most 3 entries, not null"),
        ({"size": 1, "names": ["a"] * 4}, "here: names must be a list of at most 3 entries"),
        ({"size": 1, "names": ["a", 3]}, r"here: names\[1\] must be a text of at most 5"),
        ({"size": 1, "names": ["too long"]}, r"here: names\[0\] must be a text of at most 5"),
        ({"size": 1, "rate": 2}, "here: rate must be a finite number from 0 to 1, not 2"),
        ({"size": 1, "rate": 10**400}, "here: rate must be a finite number"),
        ({"size": 1, "by": {"x": 1}}, "here: by.x must be true or false, not 1"),
        ({"size": 1, "by": dict.fromkeys("abc")}, "here: by must be an object of at most 2"),
        ({"size": 1, "any": 1}, "here: any must be a text of at most 3"),
    ],
)
def test_what_does_not_fit_is_named_by_field(value, said):
    with pytest.raises(InputError, match=said) as refusal:
        gate.check_value(value, SHAPE, "here")
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "value",
    [
        {"size": 100, "more": object()},
        {"size": 1, "names": [], "rate": 0, "by": {"x": None}, "any": True},
    ],
)
def test_what_fits_passes_and_unknown_fields_are_let_be(value):
    assert gate.check_value(value, SHAPE, "here") is value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "here is not JSON"),
        ("{", "here is not JSON"),
        (b"\xff", "here is not JSON"),
        ("NaN", "NaN is no number of JSON"),
        ('{"a": [1e999, -Infinity]}', "-Infinity is no number"),
        ("1" * 5000, "here is not JSON"),
        ("[" * 65 + "]" * 65, "here nests deeper than 64 levels"),
        ("[" * 100_000, "here nests deeper than 64 levels"),
        ('{"a":' * 100_000, "here nests deeper than 64 levels"),
        (json.dumps("a" * 101), "here has 103 bytes; 100 are read at most"),
    ],
)
def test_text_is_bounded_before_anything_is_made_of_it(text, said):
    largest = 100 if "bytes" in said else gate.LARGEST
    with pytest.raises(InputError, match=said):
        gate.parse(text, "here", largest=largest)


def test_numbers_that_overflow_are_no_numbers():
    with pytest.raises(InputError, match="finite number"):
        gate.check_value(gate.parse("1e999", "here"), gate.number(), "here")


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole of a tebibyte
    with pytest.raises(InputError, match="bytes; 67,108,864 are read at most"):
        gate.parse_file(path)
    assert gate.parse("[" * 64 + "]" * 64, "here")
