"""Whatever goes wrong is one line and an exit code; a mistake of our own keeps its traceback."""

import errno
import os
import subprocess
import sys
import warnings

import pytest

from foldtune.cli.boundary import run_guarded
from foldtune.errors import InputError


def ended(error, capsys, *words):
    def verbs(_words):
        raise error

    code = run_guarded(verbs, words)
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("no\nsuch  thing"), "error: no such thing\n"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b"),
         "error: a/b: no such file or directory\n"),
        (PermissionError(errno.EACCES, "Permission denied", b"a\xff"),
         "error: a\\udcff: permission denied\n"),
        (OSError(errno.EROFS, "Read-only file system"), "error: read-only file system\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x"),
         "error: x: no space left on the device; free some and call again\n"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "d\x1b[2J"),
         "error: d\\x1b[2J: is a directory\n"),
        (MemoryError(), "error: out of memory; smaller images (--size), batches (--batch-size) or "
         "fewer --workers need less\n"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 TB"), "error: out of memory"),
    ],
)  # fmt: skip
def test_what_the_input_or_the_system_is_to_blame_for_is_one_line_and_2(error, said, capsys):
    code, line = ended(error, capsys)
    assert code == 2
    assert line.startswith(said)
    assert line.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(capsys):
    code, line = ended(KeyboardInterrupt(), capsys, "fit", "my photos")
    assert code == 130
    assert line == "stopped; what is finished is kept; to go on: foldtune fit 'my photos'\n"


@pytest.mark.parametrize("error", [ValueError("of ours"), OSError("of no file"), KeyError("x")])
def test_a_mistake_of_our_own_keeps_its_traceback_and_says_how_to_report_it(error, capsys):
    code, said = ended(error, capsys)
    assert code == 1
    assert said.startswith("Traceback (most recent call last):")
    assert "raise error" in said
    assert said.splitlines()[-1].startswith("error: this is a mistake of foldtune, not yours:")


def test_warnings_are_lines_too(capsys):
    def verbs(_words):
        warnings.warn("rows are \x1b[31mdamaged", RuntimeWarning, stacklevel=1)

    assert run_guarded(verbs, []) == 0
    assert capsys.readouterr().err == "warning: rows are \\x1b[31mdamaged\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE to imitate")
@pytest.mark.parametrize("words", [("methods", "--json"), ("methods",)])
def test_a_reader_that_has_gone_ends_it_quietly(words):
    code = f"import sys; sys.argv = {['foldtune', *words]}; from foldtune.cli import main; main()"
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=written, stderr=subprocess.PIPE)
    os.close(written)
    assert (done.returncode, done.stderr) == (141, b"")
