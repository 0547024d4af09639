import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import foldtune
from foldtune.core.method import Method, Stack, written_out
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, BitFit, LoRA, catalogue, parse
from foldtune.methods.cards import KINDS, cards


def test_every_method_of_the_package_is_known_by_its_class_name():
    known = catalogue()
    assert {"SSF", "LoRA", "AdaptFormer", "BitFit", "LayerNorm", "LinearProbe", "Full"} <= set(
        known
    )
    assert all(name == cls.__name__ and issubclass(cls, Method) for name, cls in known.items())
    assert not {"Method", "Stack"} & set(known)


@pytest.mark.parametrize("name", catalogue())
def test_default_of_every_method_round_trips(name):
    method = catalogue()[name]()
    assert parse(name) == parse(f"{name}()") == parse(repr(method)) == method
    assert parse(written_out(method)) == method


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("SSF", SSF()),
        ("  SSF()\n", SSF()),
        ("LoRA(4)", LoRA(rank=4)),
        ("LoRA(4, 8.0, ('mlp.up',), dropout=.1)", LoRA(4, 8.0, ("mlp.up",), 0.1)),
        ("LoRA(targets=['mlp.up', 'mlp.down'])", LoRA(targets=("mlp.up", "mlp.down"))),
        ("LoRA(alpha=-2)", LoRA(alpha=-2)),
        ("LoRA(alpha=None, rank=1_6)", LoRA(rank=16)),
        ("SSF() + LoRA(rank=4)", SSF() + LoRA(rank=4)),
        ("SSF + LoRA + BitFit", Stack((SSF(), LoRA(), BitFit()))),
        ("SSF() + (LoRA(rank=4) + BitFit())", SSF() + LoRA(rank=4) + BitFit()),
        ("AdaptFormer(rank=8, scale=0.5)", AdaptFormer(rank=8, scale=0.5)),
    ],
)
def test_spellings(text, method):
    assert parse(text) == method
    assert isinstance(hash(parse(text)), int)


CODE = [
    "", " ", "+", "SSF(", "SSF())", "SSF();1", "SSF() SSF()", "LoRA(rank=4, rank=8)",
    "__import__('os').system('true')", "LoRA.edits", "LoRA.__init__(8)", "SSF()()", "(lambda: 1)()",
    "lambda: 1", "f'{1}'", "'SSF()'", "7", "None", "[SSF()]", "SSF() if 1 else LoRA()",
    "SSF() - LoRA()", "SSF() * 2", "-SSF()", "SSF() + 1", "SSF := LoRA", "SSF()\n+ LoRA()",
    "LoRA(rank=open('x'))", "LoRA(rank=__import__('os'))", "LoRA(rank=rank)", "LoRA(rank=1+1)",
    "LoRA(rank=2**30)", "LoRA(targets=f'{1}')", "LoRA(targets=[x for x in 'a'])", "LoRA(*[8])",
    "LoRA(**{'rank': 8})", "LoRA(targets={[]: 1})", "LoRA(rank=(lambda: 8)())", "SSF\x00", "\ud800",
    "LoRA(rank=" + "9" * 5000 + ")",
]  # fmt: skip
NESTED = [
    "(" * 900 + "SSF()" + ")" * 900,
    "LoRA(rank=" + "[" * 190 + "]" * 190 + ")",
    "LoRA(rank=" + "-" * 1900 + "1)",
    "-" * 100_000 + "1",
    "SSF()" + "+SSF()" * 50_000,
    "LoRA(rank=" + "(" * 50_000 + "1" + ")" * 50_000 + ")",
    "SSF." * 400 + "x",
    "S+" * 999 + "S",
]


@pytest.mark.parametrize("text", CODE + NESTED, ids=range(len(CODE + NESTED)))
def test_code_and_nonsense_are_input_errors(text):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert len(str(caught.value)) < 2200
    assert "\n" not in str(caught.value).removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LoRa(rank=4)", r"unknown method 'LoRa'; choose from: LoRA, "),
        ("AdaptFromer()", r"unknown method 'AdaptFromer'; choose from: AdaptFormer, "),
        ("SSF() + Bitfit()", r"unknown method 'Bitfit'; choose from: BitFit, "),
        ("Stack(())", r"unknown method 'Stack'; choose from: "),
        ("Method()", r"unknown method 'Method'; choose from: "),
        ("LoRA(rnk=4)", r"unknown setting of LoRA 'rnk'; choose from: rank, "),
        ("BitFit(rank=4)", r"BitFit has no settings; write BitFit\(\)"),
        ("BitFit(4)", r"BitFit has no settings; write BitFit\(\)"),
        (
            "LoRA(1, 2.0, (), 0.0, '', 'rank', 1.0, 'zero', (), (), 5)",
            r"LoRA takes at most 10 settings: rank, alpha, targets, dropout, separate, scaling",
        ),
        ("LoRA(8, rank=4)", "LoRA: rank is given twice"),
        ("LoRA(rank=0)", "rank must be at least 1, not 0"),
        ("LoRA(rank=1000000000)", "rank must be at most 65,536, not 1,000,000,000"),
        ("LoRA(rank=2.5)", r"LoRA: rank must be int, not 2\.5"),
        ("LoRA(rank='8')", "LoRA: rank must be int, not '8'"),
        ("LoRA(rank=True)", "LoRA: rank must be int, not True"),
        ("LoRA(rank=1j)", "LoRA: rank must be int, not 1j"),
        ("LoRA(alpha='x')", r"LoRA: alpha must be float \| None, not 'x'"),
        ("LoRA(targets='mlp.up')", r"targets must be tuple\[str, \.\.\.\], not 'mlp\.up'"),
        ("LoRA(targets=('mlp.up'))", r"targets must be tuple\[str, \.\.\.\], not 'mlp\.up'"),
        ("LoRA(targets=[['mlp.up']])", "targets must be"),
        ("LoRA(dropout=1.0)", r"dropout must lie in \[0, 1\), not 1\.0"),
        ("AdaptFormer(rank=-1)", "rank must be at least 1, not -1"),
        ("SSF(std=-1)", "std must be at least 0, not -1"),
        ("SSF(std=1e999)", "std must be float, not inf"),
    ],
)
def test_wrong_names_and_values_are_told_with_the_choices(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)


PLUGIN = """
from dataclasses import dataclass
from foldtune.methods import Method, LinearProbe

@dataclass(frozen=True, repr=False)
class Mine(LinearProbe):
    rank: int = 3

@dataclass(frozen=True, repr=False)
class SSF(LinearProbe):
    pass

class NoDataclass(Method):
    pass

text = "no class"
"""


def test_plug_ins_are_found_and_broken_ones_left_out_by_name(tmp_path):
    # One that failed on import took every other method with it.
    (tmp_path / "mine.py").write_text(PLUGIN)
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[foldtune.methods]\nMine = mine:Mine\nother_name = mine:SSF\nGone = no_such_module:X\n"
        "Lost = mine:Lost\nNoDataclass = mine:NoDataclass\ntext = mine:text\n"
    )
    script = """
        from foldtune.torchvision_ops import declare_missing_operators
        declare_missing_operators()
        from foldtune.methods import catalogue, parse
        assert repr(parse("Mine(rank=4) + SSF()")) == "Mine(rank=4) + SSF()"
        assert catalogue()["SSF"].__module__ == "foldtune.methods.ssf"
        print(sorted(set(catalogue()) & {"Mine", "other_name", "Gone", "NoDataclass", "text"}))
    """
    paths = [str(tmp_path), str(Path(foldtune.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['Mine']"
    for told in (
        "mine:SSF left out: there is a method SSF",
        "no_such_module:X left out: ModuleNotFoundError",
        "mine:Lost left out: AttributeError",
        "mine:NoDataclass left out: it is no dataclass of Method",
        "mine:text left out: it is no dataclass of Method",
    ):
        assert told in done.stderr


def test_cards_are_grouped_by_kind_with_year_and_merges():
    told = {card["method"]: card for card in cards()}
    assert [*dict.fromkeys(card["kind"] for card in cards())] == list(KINDS[:4])
    assert (told["LoRA"]["kind"], told["LoRA"]["year"]) == ("merge", "2022")
    assert (told["SuperTuning"]["kind"], told["SuperTuning"]["year"]) == (
        "HF PEFT's layers", "2026"
    )  # fmt: skip
    assert told["AttentiveProbe"]["kind"] == "probes"
    assert told["VPTDeep"]["kind"] == "stay beside"
    assert told["SSF"]["merges"] == "30/30"  # of the families on which it stands
    assert told["AdaptFormer"]["merges"].startswith("0/")
    assert told["Full"]["year"] == ""
