"""What is sent to a hub comes back from it and is used; a stand-in speaks the hub's calls."""

import fnmatch
import shutil
from pathlib import Path

import pytest

from foldtune.errors import InputError
from foldtune.tunings.export.folder import export_tuning
from foldtune.tunings.hub import local, push
from foldtune.tunings.usable import usable
from tunings.export.conftest import tuning

__all__ = ["tuning"]


class StandIn:
    """A hub in a folder: a repository a sub-folder, a revision one in that."""

    def __init__(self, folder):
        self.folder, self.private = folder, {}

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.private.setdefault(repo_id, private)

    def upload_folder(self, *, repo_id, folder_path, revision, commit_message, allow_patterns):
        assert repo_id in self.private
        assert commit_message
        place = self.folder / repo_id / (revision or "main")
        place.mkdir(parents=True, exist_ok=True)
        for name in names(folder_path):
            if any(fnmatch.fnmatch(name, wanted) for wanted in allow_patterns):
                (place / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(Path(folder_path, name), place / name)

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        place = self.folder / repo_id / (revision or "main")
        if not place.is_dir():
            raise OSError(f"404 Client Error: {repo_id}")
        return str(place)


def names(folder):
    return {p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def hub(tmp_path):
    return StandIn(tmp_path / "hub")


def test_a_tuning_alone_goes_there_and_back(tuning, hub):
    assert push(tuning, "me/red-or-blue", api=hub) == ("tuning.safetensors", "README.md")
    back = local(Path("hf-hub:me/red-or-blue"), hub)
    assert (back / "tuning.safetensors").read_bytes() == tuning.read_bytes()
    assert usable(back)[2]["classes"] == usable(tuning)[2]["classes"]
    card = (back / "README.md").read_text()
    assert usable(tuning)[2]["backbone"]["hash"] in card


def test_of_a_folder_only_what_was_exported_is_sent(tuning, hub, backbone, digits, tmp_path):
    folder = export_tuning(tuning, tmp_path / "out", backbone, digits).folder
    (folder / "private.txt").write_text("mine")
    sent = push(folder, "me/folder", api=hub, revision="v2")
    assert set(sent) == names(folder) - {"private.txt"}
    back = local(Path("hf-hub:me/folder@v2"), hub)
    assert not (back / "private.txt").exists()
    assert usable(back)[1].transform.size == 16


def test_what_is_made_new_is_private_unless_said(tuning, hub):
    push(tuning, "me/one", api=hub)
    push(tuning, "me/two", api=hub, public=True)
    assert hub.private == {"me/one": True, "me/two": False}


def test_a_name_without_owner_is_refused_before_anything_is_sent(tuning, hub):
    with pytest.raises(InputError, match="write OWNER/NAME"):
        push(tuning, "model", api=hub)
    assert hub.private == {}


def test_what_is_not_there_is_one_line(hub):
    with pytest.raises(InputError, match="me/none cannot be fetched"):
        local(Path("hf-hub:me/none"), hub)


def test_a_refusal_of_the_hub_says_what_to_do(tuning, hub):
    def refuse(*_, **__):
        raise OSError("401 Client Error: Unauthorized")

    hub.create_repo = refuse
    with pytest.raises(InputError, match=r"401 .*hf auth login"):
        push(tuning, "me/one", api=hub)


def test_a_path_is_no_name_of_the_hub(tmp_path):
    assert local(tmp_path) == tmp_path
