"""A row is stored whole or not at all, and two drivers never write one study."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from foldtune.errors import InputError
from foldtune.study.results.rowfile import encode, line_of
from foldtune.study.results.store import Store


def _row(number, **more):
    return {"run": f"{number:08x}", "label": "LoRA", "seed": number, "curve": [0.5, 0.25], **more}


def _filled(folder, count=3):
    with Store(folder) as store:
        for number in range(count):
            store.add(_row(number))
    return folder / "rows.jsonl"


def test_rows_come_back_in_order(tmp_path):
    _filled(tmp_path)
    store = Store(tmp_path)
    assert store.rows() == [_row(0), _row(1), _row(2)]
    assert store.find("00000001") == _row(1)
    assert store.find("ffff") is None
    assert store.contains("00000002")
    assert not store.contains("00000003")
    assert len(store) == 3


def test_every_line_is_plain_json(tmp_path):
    path = _filled(tmp_path)
    assert [json.loads(line)["row"]["seed"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_rows_that_are_to_run_again_are_taken_out_and_may_be_stored_anew(tmp_path):
    path = _filled(tmp_path)
    with Store(tmp_path) as store:
        store.forget({"00000001", "unknown"})
        assert [row["seed"] for row in store.rows()] == [0, 2]
        store.add(_row(1, verdict="finished"))
    assert [row["seed"] for row in Store(tmp_path).rows()] == [0, 2, 1]
    assert len(path.read_bytes().splitlines()) == 3
    assert not (tmp_path / "rows.corrupt.jsonl").exists()


def test_an_absent_folder_reads_as_empty_and_is_not_made(tmp_path):
    store = Store(tmp_path / "none")
    assert store.rows() == []
    assert store.description() == {}
    assert not (tmp_path / "none").exists()


def test_odd_values_are_stored_as_json_has_them(tmp_path):
    odd = {
        "loss": math.nan,
        "gain": np.float32(0.5),
        "bits": np.array([1, 2]),
        "name": 'é\n</script>"\udc80',
        "at": Path("a/b"),
        "ok": True,
    }
    with Store(tmp_path) as store:
        store.add({"run": "a1", **odd})
    found = Store(tmp_path).find("a1")
    assert found["loss"] is None
    assert (found["gain"], found["bits"], found["at"]) == (0.5, [1, 2], "a/b")
    assert found["name"] == odd["name"]
    assert found["ok"] is True


@pytest.mark.parametrize("row", [{}, {"run": 3}, {"run": ""}, {"run": "a b"}, {"run": "é"}])
def test_a_row_without_a_hash_is_refused(tmp_path, row):
    with pytest.raises(InputError, match="'run'"):
        Store(tmp_path).add(row)


def test_a_run_is_stored_once(tmp_path):
    path = _filled(tmp_path)
    before = path.read_bytes()
    with Store(tmp_path) as store, pytest.raises(InputError, match="already stored"):
        store.add(_row(1, label="SSF"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("written", [None, 10])
def test_an_interrupt_at_the_disk_takes_back_no_row_that_a_reader_saw(
    tmp_path, monkeypatch, written
):
    store = Store(tmp_path)
    store.add({"run": "first"})
    write = os.write

    def interrupted(file, line):
        if written is None:
            write(file, line)
        else:
            write(file, line[:written])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.add({"run": "second"})
    seen = ["first", "second"] if written is None else ["first"]
    assert Store(tmp_path).runs() == seen
    store.add({"run": "third"})  # cuts what is torn, and finds what is whole
    assert store.runs() == Store(tmp_path).runs() == [*seen, "third"]


def test_a_kill_at_any_byte_of_the_last_row_leaves_whole_rows(tmp_path):
    path = _filled(tmp_path)
    data = path.read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    for cut in range(start, len(data) + 1):
        path.write_bytes(data[:cut])
        kept = [_row(0), _row(1), _row(2)][: 3 if cut >= len(data) - 1 else 2]
        assert Store(tmp_path).rows() == kept
        assert path.read_bytes() == data[:cut], "a reader changed the file"
        with Store(tmp_path) as store:
            store.add(_row(9))
        assert Store(tmp_path).rows() == [*kept, _row(9)]
    assert not (tmp_path / "rows.corrupt.jsonl").exists()


def test_a_damaged_row_is_named_and_set_aside(tmp_path):
    path = _filled(tmp_path)
    lines = path.read_bytes().splitlines()
    lines[1] = lines[1].replace(b'"seed":1', b'"seed":7')
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.warns(RuntimeWarning, match=r"line 2;"):
        store = Store(tmp_path)
    assert store.rows() == [_row(0), _row(2)]
    assert not (tmp_path / "rows.corrupt.jsonl").exists(), "a reader wrote"
    with store:
        store.add(_row(1))
    assert Store(tmp_path).rows() == [_row(0), _row(2), _row(1)]
    assert (tmp_path / "rows.corrupt.jsonl").read_bytes() == lines[1] + b"\n"


def test_a_flipped_bit_anywhere_never_yields_a_wrong_row(tmp_path):
    path = _filled(tmp_path, count=2)
    data = path.read_bytes()
    good = [_row(0), _row(1)]
    for place in range(0, len(data) - 1, 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.warns(RuntimeWarning):
            found = Store(tmp_path).rows()
        assert all(row in good for row in found)


_DRIVER = """
import sys, time
from foldtune.study.results.store import Store
store = Store(sys.argv[1]).claim()
print("ready", flush=True)
number = len(store)
while True:
    store.add({"run": f"{number:08x}", "filler": "x" * 3000})
    print(number, flush=True)
    number += 1
"""


def _driver(folder, code=_DRIVER):
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_rows_acknowledged_before_a_sigkill_are_there_after_it(tmp_path):
    acknowledged = -1
    for round_ in range(4):
        process = _driver(tmp_path)
        time.sleep(0.03 * (round_ + 1))
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        process.wait()
        rows = Store(tmp_path).rows()
        assert [row["run"] for row in rows] == [f"{number:08x}" for number in range(len(rows))]
        assert len(rows) > acknowledged
    assert acknowledged > 0


def test_a_second_driver_is_refused_by_name_and_readers_are_not(tmp_path):
    process = _driver(tmp_path)
    try:
        with pytest.raises(InputError, match=rf"process {process.pid} on .* since \d\d\d\d-"):
            Store(tmp_path).claim()
        Store(tmp_path).rows()
    finally:
        process.kill()
        process.wait()
    Store(tmp_path).claim().close()


def test_an_owner_sees_what_was_added_since_it_opened(tmp_path):
    early = Store(tmp_path)
    _filled(tmp_path)
    with early:
        assert len(early) == 3


def test_an_orphaned_worker_does_not_hold_the_study(tmp_path):
    code = (
        "import os, sys, time\n"
        "from foldtune.study.results.store import Store\n"
        "store = Store(sys.argv[1]).claim()\n"
        "told, tell = os.pipe()\n"
        "if os.fork() == 0:\n"
        # The kill must not come before the worker has run at all: it was seen to, under load.
        "    os.write(tell, b'.'); os.close(1); time.sleep(20); os._exit(0)\n"
        "os.read(told, 1); print('ready', flush=True); time.sleep(20)\n"
    )
    process = _driver(tmp_path, code)
    process.kill()
    process.wait()
    Store(tmp_path).claim().close()


@pytest.mark.parametrize("room", [1, 60, 100])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, room):
    path = _filled(tmp_path)
    before = path.read_bytes()
    # A file size limit makes the kernel write a part and then refuse, as a full disk does.
    code = (
        "import resource, signal, sys\n"
        "from foldtune.errors import InputError\n"
        "from foldtune.study.results.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + room},) * 2)\n"
        "store = Store(sys.argv[1])\n"
        "try:\n    store.add({'run': 'big', 'filler': 'x' * 999})\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert str(tmp_path) in done.stdout
    assert "free some space" in done.stdout
    assert path.read_bytes() == before


def test_many_rows_open_at_once(tmp_path):
    many = (line_of(encode(_row(number, filler="x" * 1000))) for number in range(10_000))
    (tmp_path / "rows.jsonl").write_bytes(b"".join(many))
    started = time.process_time()
    assert len(Store(tmp_path)) == 10_000
    # Measured 0.05 s; a tenth of 100,000 rows, which must open in two.
    assert time.process_time() - started < 0.5


def test_rows_can_be_read_while_their_owner_writes(tmp_path):
    process = _driver(tmp_path)
    try:
        seen = 0
        deadline = time.monotonic() + 10
        while seen < 20 and time.monotonic() < deadline:
            rows = Store(tmp_path).rows()
            assert [row["run"] for row in rows] == [f"{number:08x}" for number in range(len(rows))]
            assert len(rows) >= seen
            seen = len(rows)
        assert seen >= 20
    finally:
        process.kill()
        process.wait()


def test_the_description_comes_back(tmp_path):
    with Store(tmp_path) as store:
        store.write_description({"backbone": "micro", "data_identity": "ab", "trials": 4})
        store.write_description({"backbone": "micro", "data_identity": "ab", "trials": 8})
    assert Store(tmp_path).description()["trials"] == 8
    assert sorted(os.listdir(tmp_path)) == ["lock", "rows.jsonl", "study.json"]


@pytest.mark.parametrize(("key", "other"), [("backbone", "vit"), ("data_identity", "cd")])
def test_another_backbone_or_other_data_is_refused(tmp_path, key, other):
    asked = {"backbone": "micro", "data_identity": "ab"}
    with Store(tmp_path) as store:
        store.write_description(asked)
        with pytest.raises(InputError, match=f"'{asked[key]}'.*'{other}'.*another folder"):
            store.write_description({**asked, key: other})
        assert store.description() == asked


def test_rows_guard_the_study_where_its_description_was_lost(tmp_path):
    with Store(tmp_path) as store:
        store.add(_row(1, backbone="micro", data_identity="ab"))
        with pytest.raises(InputError, match=r"'ab'.*'cd'"):
            store.write_description({"backbone": "micro", "data_identity": "cd"})


def test_a_broken_description_says_what_to_do(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(InputError, match=r"not JSON.*delete it"):
        Store(tmp_path).description()
