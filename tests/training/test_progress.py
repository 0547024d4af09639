import io
import re

import pytest

from foldtune.training.progress import progress_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("label", "stream"), [(None, Terminal()), ("run", io.StringIO())])
def test_nothing_is_written_without_a_label_or_a_terminal(label, stream, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream)
    with progress_line(label, 0, 10) as advance:
        advance(10, 1, 0.5)
    assert stream.getvalue() == ""


def test_a_terminal_shows_label_epoch_loss_speed_and_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with progress_line("SSF()", 20, 80) as advance:
        for _ in range(20):
            advance(1, 3, 0.25)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "SSF()" in text
    assert "epoch 3" in text
    assert "loss 0.2500" in text
    assert re.search(r"\d+ images/s", text)
    assert re.search(r"\d:\d\d:\d\d", text)
