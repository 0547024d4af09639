"""Images are decoded once, whatever happens in between; what is damaged is built again."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.conftest import encoded
from foldtune.data import read_source
from foldtune.data.store import build as store
from foldtune.data.store import workers
from foldtune.data.store.build import fetch
from foldtune.data.store.decode import Fit
from foldtune.data.store.entries import permute
from foldtune.errors import InputError
from foldtune.files import read_json, write_json

FIT = Fit(8)
SOURCE = str(Path(__file__).parents[3] / "src")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def folder(make_folder):
    return make_folder({"a": 6, "b": 5})


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that were read, in this process."""
    names = []
    read = workers.read_image

    def spy(open_, name, fit):
        names.append(name)
        return read(open_, name, fit)

    monkeypatch.setattr(workers, "read_image", spy)
    return names


def contents(cache):
    return {p.relative_to(cache).as_posix() for p in cache.rglob("*") if p.is_file()}


def test_what_another_version_left_of_a_request_is_made_again(folder, cache, decoded):
    first = fetch(read_source(folder), FIT, cache)
    (request,) = (cache / "requests").glob("*.json")
    about = read_json(request)
    del about["dropped"]
    write_json(request, about)
    decoded.clear()
    second = fetch(read_source(folder), FIT, cache)
    assert (second.identity, len(decoded)) == (first.identity, 11)


def test_a_second_request_reads_no_image(folder, cache, decoded):
    first = fetch(read_source(folder), FIT, cache)
    assert len(decoded) == 11
    decoded.clear()
    again = fetch(read_source(folder), FIT, cache)
    assert decoded == []
    assert np.array_equal(first.pixels, again.pixels)
    assert (first.identity, first.rows) == (again.identity, again.rows)


def test_pixels_are_the_decoded_images_in_the_order_of_labels_and_keys(folder, cache):
    from foldtune.data.store.decode import decode

    listing = read_source(folder)
    stored = fetch(listing, FIT, cache)
    for row, index in enumerate(stored.rows):
        image = decode(listing.open(listing.items[index].name), FIT)
        assert np.array_equal(stored.pixels[row], image)
        assert stored.labels[row] == listing.items[index].label
    keys = [key.tobytes() for key in stored.keys[:, :16]]
    order = list(zip(stored.labels, keys, strict=True))
    assert order == sorted(order)
    assert isinstance(stored.pixels, np.memmap)
    assert not stored.pixels.flags.writeable


def test_one_identity_is_one_array_whatever_its_source(folder, make_zip, make_folder, cache):
    renamed = make_folder({"a": 6, "b": 5}, name="renamed")
    for number, file in enumerate(sorted(renamed.rglob("*.png"))):
        file.rename(file.with_name(f"{100 - number}.png"))
    table = folder.with_suffix(".csv")
    rows = (f"photos/{n.parent.name}/{n.name},{n.parent.name}" for n in folder.rglob("*.png"))
    table.write_text("path,label\n" + "\n".join(rows))
    sources = [folder, make_zip(folder, "wrapped/"), renamed, table]
    found = [fetch(read_source(source), FIT, cache) for source in sources]
    assert len({stored.identity for stored in found}) == 1
    for i, source in enumerate(sources):
        alone = fetch(read_source(source), FIT, cache.with_name(f"alone{i}"))
        assert np.array_equal(alone.pixels, found[0].pixels)
    assert len([name for name in contents(cache) if name.endswith("pixels.raw")]) == 1


@pytest.mark.parametrize("fit", [Fit(9), Fit(8, "crop"), Fit(8, "squash", "nearest")])
def test_another_geometry_is_another_identity(folder, cache, fit):
    listing = read_source(folder)
    assert fetch(listing, FIT, cache).identity != fetch(listing, fit, cache).identity


def test_a_changed_file_is_decoded_again(folder, cache):
    before = fetch(read_source(folder), FIT, cache)
    (folder / "a" / "000.png").write_bytes(encoded(77) + b" ")
    assert fetch(read_source(folder), FIT, cache).identity != before.identity


def test_other_pixels_under_the_same_name_size_and_time_are_decoded_again(folder, cache):
    before = fetch(read_source(folder), FIT, cache)
    file = folder / "a" / "000.png"
    old, other = file.read_bytes(), encoded(77)
    length = max(len(old), len(other))
    for data in (old, other):  # what stands behind the end of a PNG is not read
        file.write_bytes(data + bytes(length - len(data)))
        os.utime(file, ns=(10**18, 10**18))
        after = fetch(read_source(folder), FIT, cache)
    assert after.identity != before.identity


def damage_cut(entry):
    os.truncate(entry / "pixels.raw", 100)


def damage_header(entry):
    text = (entry / "entry.json").read_text()
    (entry / "entry.json").write_text(text.replace("squash", "sqvash"))


def damage_half_header(entry):
    os.truncate(entry / "entry.json", (entry / "entry.json").stat().st_size // 2)


def damage_gone(entry):
    (entry / "pixels.raw").unlink()


def damage_request(entry):
    for request in (entry.parent / "requests").iterdir():
        os.truncate(request, 30)


def damage_all(entry):
    shutil.rmtree(entry)


@pytest.mark.parametrize(
    "damage",
    [damage_cut, damage_header, damage_half_header, damage_gone, damage_request,
     damage_all],
)  # fmt: skip
def test_a_damaged_store_is_built_again(folder, cache, decoded, damage):
    first = fetch(read_source(folder), FIT, cache)
    before, files = np.array(first.pixels), contents(cache)
    del first
    decoded.clear()
    damage(next(p for p in cache.iterdir() if len(p.name) == 32))
    again = fetch(read_source(folder), FIT, cache)
    assert len(decoded) == 11
    assert np.array_equal(again.pixels, before)
    assert contents(cache) == files


KILLED = """
import os, signal, sys
from pathlib import Path
from foldtune.data import read_source
from foldtune.data.store import build, entries
from foldtune.data.store.decode import Fit
steps = int(sys.argv[3])
def dying(function):
    def wrapped(*arguments):
        global steps
        steps -= 1
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return wrapped
os.fsync, os.rename, os.replace = map(dying, (os.fsync, os.rename, os.replace))
build.fetch(read_source(sys.argv[1]), Fit(8), Path(sys.argv[2]))
"""


def test_a_kill_at_any_step_leaves_a_store_that_works(folder, cache):
    for step in range(1, 20):
        arguments = [sys.executable, "-c", KILLED, folder, cache, str(step)]
        code = subprocess.run(arguments, env={"PYTHONPATH": SOURCE}).returncode
        if code == 0:
            break
        assert code == -signal.SIGKILL
        stored = fetch(read_source(folder), FIT, cache)
        assert stored.pixels.shape == (11, 8, 8, 3)
        assert not list(cache.glob("tmp-*"))
        shutil.rmtree(cache)
    # Four files and three folders synced; two renamings and two replacements; then it ended.
    assert step == 12


KILLED_BUSY = """
import os, signal, sys
from pathlib import Path
from foldtune.data import load_data
kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)
load_data(sys.argv[1], size=8, cache=Path(sys.argv[2]), workers=2, progress=kill)
"""


def test_a_kill_while_processes_decode_leaves_none_and_a_store_that_works(make_folder, cache):
    folder = make_folder({"a": 130, "b": 120})
    arguments = [sys.executable, "-c", KILLED_BUSY, folder, cache]
    killed = subprocess.Popen(arguments, stderr=subprocess.PIPE, env={"PYTHONPATH": SOURCE})
    # The standard error is shared with the workers, so it ends when the last of them has ended.
    assert killed.communicate(timeout=60)[1] == b""
    assert killed.returncode == -signal.SIGKILL
    assert list(cache.glob("tmp-*"))
    assert len(fetch(read_source(folder), FIT, cache).pixels) == 250
    assert not list(cache.glob("tmp-*"))


def counted(listing):
    """The listing, and the names that are read of it."""
    read = []
    return replace(listing, open=lambda name: read.append(name) or listing.open(name)), read


@pytest.fixture
def killed(make_folder, cache):
    """A folder, of whose 250 images a killed build decoded some chunks."""
    folder = make_folder({"a": 130, "b": 120})
    arguments = [sys.executable, "-c", KILLED_BUSY, folder, cache]
    subprocess.run(arguments, env={"PYTHONPATH": SOURCE}, timeout=60)
    return folder


def test_a_killed_build_is_taken_up_where_it_was(killed, cache, tmp_path):
    listing, read = counted(read_source(killed))
    found = fetch(listing, FIT, cache, workers=1)
    assert 0 < len(read) < 250
    whole = fetch(read_source(killed), FIT, tmp_path / "fresh", workers=1)
    assert found.identity == whole.identity
    assert (found.pixels == whole.pixels).all()
    assert sorted(p.name for p in (cache / found.identity).iterdir()) == [
        "entry.json", "pixels.raw",
    ]  # fmt: skip


@pytest.mark.parametrize("damage", ["pixels", "journal"])
def test_what_a_journal_tells_is_believed_only_where_the_pixels_agree(
    killed, cache, tmp_path, damage
):
    entry = next(cache.glob("tmp-*")) / "entry"
    if damage == "pixels":
        with (entry / "pixels.raw").open("r+b") as file:
            file.write(bytes(64))
    else:
        text = (entry / "journal.jsonl").read_text()
        (entry / "journal.jsonl").write_text(text[: len(text) // 2])
    listing, read = counted(read_source(killed))
    whole = fetch(read_source(killed), FIT, tmp_path / "fresh", workers=1)
    found = fetch(listing, FIT, cache, workers=1)
    assert read
    assert (found.pixels == whole.pixels).all()


def test_a_changed_source_takes_up_nothing(killed, cache):
    (killed / "a" / "000.png").write_bytes(encoded(7777))
    listing, read = counted(read_source(killed))
    fetch(listing, FIT, cache, workers=1)
    assert len(read) == 250
    assert not list(cache.glob("tmp-*"))


BUILD = """
import sys
from pathlib import Path
from foldtune.data import load_data
print(load_data(sys.argv[1], size=8, cache=Path(sys.argv[2]), workers=2).pixels[:].sum())
"""


def test_processes_that_build_at_once_agree(make_folder, cache):
    folder = make_folder({"a": 130, "b": 120})
    arguments = [sys.executable, "-c", BUILD, folder, cache]
    running = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, env={"PYTHONPATH": SOURCE})
        for _ in range(3)
    ]
    sums = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(sums) == 1
    assert len(contents(cache)) == 4  # an entry of two, the request, the keys
    assert not list(cache.glob("tmp-*"))


def test_rubbish_of_a_living_process_is_kept_and_old_rubbish_is_not(folder, cache):
    import socket

    mine = cache / f"tmp-{socket.gethostname()}-{os.getpid()}-abc"
    foreign, old = cache / "tmp-other-host-1-abc", cache / "tmp-other-host-1-old"
    for path in (mine, foreign, old):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 3 * 86400,) * 2)
    fetch(read_source(folder), FIT, cache)
    assert mine.exists()
    assert foreign.exists()
    assert not old.exists()


def test_broken_images_are_told_all_at_once(folder, cache):
    for i in range(6):
        (folder / "a" / f"00{i}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="6 of 11 images cannot be read") as caught:
        fetch(read_source(folder), FIT, cache)
    assert "a/004.png (not an image) and 1 more" in str(caught.value)
    assert "skip_broken" in str(caught.value)
    assert contents(cache) == set()


def test_broken_images_can_be_skipped_and_are_still_refused_without(folder, cache, decoded):
    (folder / "a" / "002.png").write_bytes(b"no image")
    stored = fetch(read_source(folder), FIT, cache, skip_broken=True)
    assert stored.skipped == {"a/002.png": "not an image"}
    assert stored.pixels.shape[0] == len(stored.rows) == 10
    assert all(stored.pixels[row].any() for row in range(10))
    decoded.clear()
    with pytest.raises(InputError, match=r"1 of 11 .* a/002.png"):
        fetch(read_source(folder), FIT, cache)
    assert decoded == []


def test_skipping_every_image_is_refused(folder, cache):
    for file in folder.rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(InputError, match="none is left"):
        fetch(read_source(folder), FIT, cache, skip_broken=True)


def test_too_small_a_disk_is_refused_before_decoding(folder, cache, decoded, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage(1, 1, 0))
    with pytest.raises(InputError, match=r"no space left .*/cache: 1,050,688 bytes needed"):
        fetch(read_source(folder), FIT, cache)
    assert decoded == []
    assert not list(cache.glob("tmp-*"))


def test_a_disk_that_fills_up_leaves_nothing_behind(folder, cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers.Job, "rows", full)
    with pytest.raises(InputError, match="no space left"):
        fetch(read_source(folder), FIT, cache)
    assert not list(cache.glob("tmp-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_write_to_a_full_device_raises_no_space_left(folder):
    listing = read_source(folder)
    with pytest.raises(OSError, match="No space left") as caught:
        workers.Job(listing.open, FIT, Path("/dev/full")).rows(0, ["a/000.png"])
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_neither_files_nor_threads(make_folder, cache, workers):
    def interrupt(*_):
        raise KeyboardInterrupt

    listing, before = read_source(make_folder({"a": 60, "b": 60})), threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        fetch(listing, FIT, cache, workers=workers, progress=interrupt)
    assert contents(cache) == set()
    assert threading.active_count() == before


def test_a_cache_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "cache").write_text("x")
    with pytest.raises(InputError, match="cannot keep the decoded images"):
        fetch(read_source(folder), FIT, tmp_path / "cache")


@pytest.mark.parametrize("seed", range(10))
def test_permute_brings_each_row_to_its_place(tmp_path, seed):
    random = np.random.default_rng(seed)
    rows = random.integers(0, 256, (17, 5), dtype=np.uint8)
    (tmp_path / "rows").write_bytes(rows.tobytes())
    order = random.permutation(17).tolist()
    permute(tmp_path / "rows", order, 17 - seed, 5)
    assert (tmp_path / "rows").read_bytes() == rows[order][: 17 - seed].tobytes()
