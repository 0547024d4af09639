"""Durations are said as people say them; names of others are shown and not obeyed."""

import json

import pytest

from foldtune.console import duration, emit, facts, plain, say, table, write


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_read_well(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x9b31m\x7f\r\x08", r"\x9b31m\x7f\x0d\x08"),
        ("x\u202egnp.exe", r"x\u202egnp.exe"),
        ("caf\udce9", r"caf\udce9"),
        ("Vögel 鳥\tline\n", "Vögel 鳥\tline\n"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text, shown, capsys):
    assert plain(text) == shown
    write(text)
    say(text)
    facts({text: text})
    table([{"name": text}], ("name",), text)
    out, err = capsys.readouterr()
    assert not set(out + err) & set("\x1b\x9b\x7f\r\x08\u202e\udce9")
    assert err == f"{shown}\n"


def test_json_keeps_its_values_and_escapes_what_a_terminal_would_obey(capsys):
    value = {"class \x9b\u202e": ["\x1b", "鳥", "\udce9"]}
    emit(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert "鳥" in out
    assert not set(out) & set("\x1b\x9b\u202e\udce9")
