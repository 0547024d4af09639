"""Tunings and exported folders on a hub: sent there because the user says so, and fetched by name.

Only what the user names is contacted: nothing in a file leads here.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from foldtune.backbones.weights import through_hub
from foldtune.core.tuningfile import TUNING, tuning_in
from foldtune.errors import InputError
from foldtune.tunings.export.about import ABOUT, is_exported, read_about
from foldtune.tunings.tuning import header_of

SCHEMES = ("hf-hub:", "hf_hub:")
# What a folder of a tuned model consists of; nothing else of a repository is fetched.
_WANTED = ("*.json", "*.safetensors", "README.md")


class Api(Protocol):
    """The calls of `huggingface_hub.HfApi` that are made."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any: ...

    def upload_folder(
        self,
        *,
        repo_id: str,
        folder_path: str,
        revision: str | None,
        commit_message: str,
        allow_patterns: list[str],
    ) -> Any: ...

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, allow_patterns: list[str]
    ) -> str: ...


def push(
    source: str | Path,
    repo: str,
    *,
    revision: str | None = None,
    public: bool = False,
    api: Api | None = None,
) -> tuple[str, ...]:
    """Send an exported folder, or a tuning alone (kilobytes; its backbone is named by hash), to
    OWNER/NAME on the hub; the names of the files that went.

    revision: a branch there. public: of a repository that is made new; else it is private. api: by
    default the hub's own client, with the token that `hf auth login` or HF_TOKEN gave it. Raises
    InputError for a source that is neither, and where the hub refuses.
    """
    _check_name(repo)
    hub = api or _client()
    with _as_folder(Path(source)) as (folder, names):
        try:
            hub.create_repo(repo, private=not public, exist_ok=True)
            hub.upload_folder(
                repo_id=repo, folder_path=str(folder), revision=revision,
                commit_message="Add a model tuned with foldtune", allow_patterns=list(names),
            )  # fmt: skip
        except InputError:
            raise
        except Exception as error:  # the hub's client raises many kinds, of which none is a bug
            raise InputError(
                f"{repo} was not sent ({_line(error)}); log in (hf auth login) with a token that "
                "may write there"
            ) from error
    return names


def local(source: Path, api: Api | None = None) -> Path:
    """The path as it is; of `hf-hub:OWNER/NAME` or `hf-hub:OWNER/NAME@REVISION` the folder that it
    was fetched to, from the cache where it is in it.

    Raises InputError where it is not there, or the hub cannot be reached.
    """
    text = str(source)
    scheme = next((s for s in SCHEMES if text.startswith(s)), None)
    if scheme is None:
        return source
    repo, _, revision = text.removeprefix(scheme).partition("@")
    _check_name(repo)
    hub = api or _client()
    try:
        folder = through_hub(
            text,
            lambda: hub.snapshot_download(
                repo, revision=revision or None, allow_patterns=list(_WANTED)
            ),
        )
    except InputError:
        raise
    except Exception as error:  # as above
        raise InputError(f"{text} cannot be fetched ({_line(error)})") from error
    found = Path(folder)
    if not tuning_in(found).is_file():
        raise InputError(f"{text} holds no {TUNING}; foldtune push writes one")
    return found


@contextmanager
def _as_folder(source: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder to send and the names of what is sent of it."""
    if is_exported(source):
        yield source, (*read_about(source)["files"], ABOUT)
        return
    header = header_of(source)
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(spare)
        shutil.copyfile(tuning_in(source) if source.is_dir() else source, folder / TUNING)
        (folder / "README.md").write_text(_card_of_tuning(header))
        yield folder, (TUNING, "README.md")


def _card_of_tuning(header: dict[str, Any]) -> str:
    backbone = header.get("backbone") or {}
    classes = ", ".join(name.replace("`", "'") for name in header["classes"][:20])
    return (
        "---\nlibrary_name: foldtune\npipeline_tag: image-classification\n---\n"
        f"# A tuning of `{backbone.get('name', 'a backbone')}`\n\n"
        f"`{header['method']}` with a classifier of {header['num_classes']} classes: `{classes}`. "
        f"It holds what was trained alone; the backbone, weights `{backbone.get('weights')}`, has "
        f"the hash `{backbone.get('hash')}`.\n\n"
        "```\nfoldtune predict hf-hub:OWNER/NAME photo.jpg\n```\n"
    )


def _check_name(repo: str) -> None:
    owner, _, name = repo.partition("/")
    if not owner or not name or "/" in name or not repo.isprintable():
        raise InputError(f"{repo!r} is no name on the hub; write OWNER/NAME")


def _client() -> Api:
    from huggingface_hub import HfApi

    found: Any = HfApi(library_name="foldtune")
    return found  # type: ignore[no-any-return]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
