"""Every option of the command line is an argument of the same name and default in Python."""

import dataclasses
import inspect

import pytest

import foldtune
from foldtune.cli import app
from foldtune.errors import InputError
from foldtune.options import groups
from foldtune.options.taken import non_defaults, of, takes, words

VERBS = {
    "fit": foldtune.fit,
    "compare": foldtune.compare,
    "eval": foldtune.evaluate,
    "predict": foldtune.predict,
    "merge": foldtune.merge,
    "advise": foldtune.advise,
}
# What a terminal alone has use for, and what only a program can give.
ON_A_TERMINAL = {"json", "full", "csv", "sort_into", "link"}
IN_A_PROGRAM = {"recipe", "say", "command", "allow"}
GROUPS = [one for one in vars(groups).values() if dataclasses.is_dataclass(one)]


def options(verb):
    """By name the default of each argument of a verb on the command line."""
    found = app[verb].assemble_argument_collection(parse_docstring=False)
    leaves = [one for one in found if not one.children]
    return {one.field_info.name: one.field_info.default for one in leaves}


def arguments(verb):
    """By name the default of each argument in Python."""
    told = inspect.signature(VERBS[verb]).parameters.values()
    return {p.name: p.default for p in told if p.name not in IN_A_PROGRAM}


@pytest.mark.parametrize("verb", VERBS)
def test_names_and_defaults_are_those_of_python(verb):
    terminal = {k: v for k, v in options(verb).items() if k not in ON_A_TERMINAL}
    if verb == "compare":
        for name in ("folds", "repeats"):  # what it returns is another: compare_folds
            assert terminal.pop(name) is None
    if verb == "predict":
        terminal["images"] = inspect.Parameter.empty  # none is a list on standard input
    # What a terminal must be given, a notebook may go without.
    wanted = {
        k: inspect.Parameter.empty if v is inspect.Parameter.empty else v
        for k, v in arguments(verb).items()
    }
    if "out" in terminal and terminal["out"] is inspect.Parameter.empty:
        assert wanted.pop("out", None) in (None, inspect.Parameter.empty)
        terminal.pop("out")
    assert terminal == wanted


def test_folds_are_compared_with_the_options_of_compare():
    plain = inspect.signature(foldtune.compare).parameters
    folded = dict(inspect.signature(foldtune.compare_folds).parameters)
    assert folded.pop("folds").default is folded.pop("repeats").default is None
    assert {n: p.default for n, p in folded.items()} == {n: p.default for n, p in plain.items()}


def test_load_data_reads_as_every_verb_does():
    told = inspect.signature(foldtune.load_data).parameters
    fields = {f.name: f.default for f in dataclasses.fields(groups.DataOptions)}
    assert {name: told[name].default for name in fields} == fields


def test_load_backbone_loads_as_every_verb_does():
    told = inspect.signature(foldtune.load_backbone).parameters
    fields = {f.name: f.default for f in dataclasses.fields(groups.ModelOptions)}
    assert {name: told[name].default for name in fields} == fields


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_every_option_has_a_sentence(group):
    told = words()[group.__name__]
    for field in dataclasses.fields(group):
        assert told[field.name].endswith((".", "off.")), field.name
        assert field.name in group.__dataclass_fields__


@pytest.mark.parametrize("verb", [name for name in app if not name.startswith("-")])
def test_every_argument_of_every_verb_has_words(verb):
    verbs = [app[verb][name] for name in app[verb] if not name.startswith("-")]
    for one in verbs or [app[verb]]:
        if one.default_command is None:
            continue
        for argument in one.assemble_argument_collection(parse_docstring=True):
            if not argument.children:
                assert argument.parameter.help, (verb, argument.name)


def test_an_unknown_argument_names_the_nearest():
    with pytest.raises(InputError, match="unknown argument of fit 'epoch'; choose from: epochs"):
        foldtune.fit("digits", epoch=3)


def test_signature_and_documentation_name_every_option():
    assert "epochs: Passes over the training images. Default: 20." in foldtune.fit.__doc__
    assert inspect.signature(foldtune.fit).parameters["shots"].default is None


def test_what_is_said_is_what_differs():
    assert non_defaults(groups.TrainOptions(epochs=3), groups.DataOptions(shots=4)) == {
        "epochs": 3, "shots": 4,
    }  # fmt: skip
    assert of(groups.TrainOptions, {"epochs": 3, "shots": 4}) == groups.TrainOptions(epochs=3)


def test_an_own_argument_covers_a_groups():
    @takes(groups.ModelOptions)
    def verb(*, size: str = "own", **options):
        """A verb."""
        return size, options

    assert list(inspect.signature(verb).parameters) == ["size", "weights", "pretrained", "channels"]
    assert verb(channels=4) == ("own", {"channels": 4})
