"""A method from outside is one file and one entry point; one from inside, one file and one line."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import foldtune
from foldtune.methods import catalogue
from foldtune.methods.catalogue import is_registered

PACKAGE = Path(foldtune.__file__).parent
EXAMPLE = PACKAGE.parents[1] / "examples" / "foldtune-vera"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the example package, built and installed without the network."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    # Without isolation the build takes hatchling from the development environment.
    run([*pip, "--no-build-isolation", "--target", target, EXAMPLE])
    return target


def run(command, *paths, good=True):
    """Standard output and error of a command that finds modules in `paths`, then in ours."""
    path = os.pathsep.join(map(str, (*paths, PACKAGE.parent)))
    done = subprocess.run(
        list(map(str, command)), env=os.environ | {"PYTHONPATH": path}, cwd=EXAMPLE.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is good, done.stdout + done.stderr
    return done.stdout, done.stderr


def verb(*words, paths):
    out, err = run([sys.executable, "-m", "foldtune", *words, "--json"], *paths)
    return json.loads(out), err


def test_an_installed_method_is_in_the_catalogue_and_attaches(installed):
    rows, err = verb("methods", paths=[installed])
    assert {"PlainVeRA", "SSF"} <= {row["method"] for row in rows}
    assert "left out" not in err
    told, _ = verb(
        "inspect", "micro", "--size", 16, "--method", "PlainVeRA(rank=2)", paths=[installed]
    )
    assert told["trainable"] == 8 * (3 * 128 + 2)
    assert told["mergeable"]
    assert told["starts_as_identity"]


def test_its_own_test_suite_passes(installed):
    out, _ = run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE], installed
    )
    assert "3 passed" in out


BROKEN = {
    "raises": 'raise RuntimeError("two\\nlines")',
    "leaves": "import sys; sys.exit(3)",
    "collides": "class SSF(BitFit): pass",
    "needs": "class Needs(BitFit):\n    rank: int",
    "refuses": "class Refuses(BitFit):\n    rank: int = 0",
    "mute": 'class Mute(BitFit):\n    """ """',
}


def test_a_broken_plug_in_is_named_in_one_line_and_the_others_stay(tmp_path):
    lines = ["[foldtune.methods]"]
    for name, body in BROKEN.items():
        head = "from dataclasses import dataclass\nfrom foldtune.methods import BitFit\n"
        decorator = "@dataclass(frozen=True, repr=False)\n" if body.startswith("class") else ""
        (tmp_path / f"{name}.py").write_text(f"{head}{decorator}{body}\n")
        lines.append(f"{name} = {name}:{'SSF' if name == 'collides' else name.title()}")
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    rows, err = verb("methods", paths=[tmp_path])
    installed = {name for name, cls in catalogue().items() if not is_registered(cls)}
    assert {row["method"] for row in rows} == {*installed, "Mute"}
    told = [line for line in err.splitlines() if "plug-in" in line]
    assert len(told) == 5 == len(err.splitlines())
    for words in (
        "raises:Raises left out: RuntimeError: two lines",
        "leaves:Leaves left out: SystemExit: 3",
        "collides:SSF left out: there is a method SSF (foldtune.methods.ssf)",
        "needs:Needs left out: Needs() cannot be built: TypeError",
        "refuses:Refuses left out: Refuses() cannot be built: InputError: Refuses: rank must be",
    ):
        assert any(words in line for line in told), (words, told)


def test_inside_the_package_a_method_is_one_file_and_one_line(tmp_path):
    copy = tmp_path / "foldtune"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(EXAMPLE / "foldtune_vera.py", copy / "methods" / "vera.py")
    with (copy / "methods" / "__init__.py").open("a") as file:
        file.write("from foldtune.methods.vera import PlainVeRA as PlainVeRA\n")
    code = """
        import foldtune
        from foldtune.methods import parse
        model = foldtune.load_backbone("micro", pretrained=False, size=16)
        attachment = foldtune.attach(model, parse("SSF() + PlainVeRA(rank=2)"))
        print(foldtune.__file__, attachment.method)
    """
    out, _ = run([sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))], tmp_path)
    assert out.split(maxsplit=1) == [str(copy / "__init__.py"), "SSF() + PlainVeRA(rank=2)\n"]


def test_each_method_of_the_package_has_one_line_in_its_list():
    tree = ast.parse((PACKAGE / "methods" / "__init__.py").read_text())
    lines = [
        (node.module.removeprefix("foldtune.methods."), name.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module.startswith("foldtune.methods.")
        for name in node.names
    ]
    listed = [
        (module, name) for module, name in lines if module not in {"catalogue", "hf_peft.by_name"}
    ]
    own = {n: c for n, c in catalogue().items() if c.__module__.startswith("foldtune.")}
    assert sorted(listed) == sorted(
        (c.__module__.removeprefix("foldtune.methods."), n) for n, c in own.items()
    )
    files = {p.stem for p in (PACKAGE / "methods").glob("*.py")}
    # No methods: `bottleneck` is what adapters share, `low_rank` what LoRA and DoRA do, `places`
    # where changes of matrices stand, `refusal` how all of them refuse, `source` what one of one's
    # own is made of.
    shared = {
        "__init__",
        "bottleneck",
        "cards",
        "catalogue",
        "low_rank",
        "places",
        "refusal",
        "source",
    }
    assert files - {module for module, _ in listed} == shared
    held = {f"hf_peft.{p.stem}" for p in (PACKAGE / "methods" / "hf_peft").glob("*.py")}
    assert held - {module for module, _ in listed} == {
        "hf_peft.__init__", "hf_peft.by_name", "hf_peft.held"
    }  # fmt: skip
