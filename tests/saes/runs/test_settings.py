"""Settings from TOML and flags: every key and type is checked, and what is written reads back the same."""

from __future__ import annotations

import pytest

from interp.errors import MissingInputError, UsageError
from saes import Config
from saes.runs import settings
from saes.runs.settings import Data, Run, Settings

FILE = """
[sae]
architecture = "matryoshka"
width = 64
lr = 1          # a whole number is a number
groups = [8, 64]

[data]
text = "corpus/"
hook = "blocks.0.hook_resid_post"

[run]
log_every = 5
"""


def written(tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text)
    return file


def test_a_file_becomes_settings_and_flags_win_over_it(tmp_path):
    table, key, value = settings.assignment("sae.k=7")
    values = settings.merged([settings.read(written(tmp_path, FILE)), {table: {key: value}}])
    result = settings.complete(values)
    assert result == Settings(
        Config(architecture="matryoshka", width=64, lr=1.0, groups=(8, 64), k=7),
        Data(text=("corpus/",), hook=("blocks.0.hook_resid_post",)),
        Run(log_every=5),
    )


def test_what_is_written_reads_back_the_same(tmp_path):
    odd = 'a "b"\\c\n\x7f\t é 🗼'
    chosen = Settings(
        Config(variant="transcoder", skip=True, lr=1e-5, average=0.999),
        Data(text=(odd, "-"), hook=("in",), target="out", max_tokens=5),
        Run(wandb=odd),
    )
    file = written(tmp_path, settings.to_toml(chosen))
    assert settings.complete(settings.read(file)) == chosen


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("[sae]\nwidht = 3", 'unknown key "sae.widht"; the nearest is "width".'),
        ("[sea]\nwidth = 3", 'unknown table or key "sea"; the nearest is "sae".'),
        ("width = 3", 'unknown table or key "width"; it belongs below [sae].'),
        ('[run]\nhook = "x"', 'unknown key "run.hook"; here it is "data.hook".'),
        ("[sae]\nk = 3.5", "sae.k must be a whole number, not 3.5."),
        ("[sae]\nk = true", "sae.k must be a whole number, not true."),
        ('[sae]\nk = "32"', 'sae.k must be a whole number, not "32".'),
        ("[sae]\nlr = nan", "sae.lr must be a number, not nan."),
        ("[sae]\nskip = 1", "sae.skip must be true or false, not 1."),
        ("[sae]\ngroups = [1, 2.5]", "sae.groups must be a whole number or a list of such, not [1, 2.5]."),
        ("[data]\ntext = [1]", "data.text must be a text in quotes or a list of such, not [1]."),
        ("sae = 3", "sae must be a table, written [sae], not 3."),
        ("[sae]\nk = ", "is not TOML"),
    ],
)
def test_a_slip_in_the_file_is_one_sentence_that_names_file_and_key(tmp_path, text, reported):
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        settings.read(file)
    assert str(raised.value).startswith(str(file)) and reported in str(raised.value)


@pytest.mark.parametrize(
    ("assigned", "reported"),
    [
        (["sae.k=65", "sae.width=64"], "k=65 is larger than the width of 64 latents"),
        (["data.store=acts"], "either data.store or data.text; both were given"),
        (["data.target=x"], 'data.target names the outputs of sae.variant="transcoder"; this is "autoencoder".'),
        (["sae.variant=transcoder"], "without a target"),
        (['data.hook=["a", "b"]'], 'is for sae.variant="crosscoder"'),
        (["data.context=0"], "data.context=0 must be a whole number of at least 1"),
        (["run.log_every=0"], "run.log_every=0 must be a whole number of at least 1"),
        (["data.stream=true", 'data.hook=["a", "b"]', "sae.variant=crosscoder"], "harvest to disk for a crosscoder"),
        (["data.hooks=blocks.*.mlp"], "data.hooks names a set of dictionaries"),
        (["sae.variant=crosslayer"], "name them by data.hooks"),
    ],
)
def test_inconsistent_values_are_refused(assigned, reported):
    tables = [{"data": {"text": ("x",), "hook": ("a",)}}]
    for text in assigned:
        table, key, value = settings.assignment(text)
        tables.append({table: {key: value}})
    with pytest.raises(UsageError, match=r"^run\.toml: ") as raised:
        settings.complete(settings.merged(tables), "run.toml")
    assert reported in str(raised.value)


def test_flags_take_text_without_quotes_and_refuse_what_is_not_theirs():
    assert settings.assignment("sae.architecture=topk") == ("sae", "architecture", "topk")
    assert settings.assignment("data.model=12") == ("data", "model", "12")
    assert settings.assignment("data.hook=a") == ("data", "hook", ("a",))
    for text, reported in (
        ("k=3", "does not have the form TABLE.KEY=VALUE"),
        ("sae.k", "does not have the form TABLE.KEY=VALUE"),
        ("sea.k=3", 'unknown table "sea"; the nearest is "sae"'),
        ("sae.k=many", '--k: sae.k must be a whole number, not "many".'),
    ):
        with pytest.raises(UsageError) as raised:
            settings.assignment(text, "--k")
        assert reported in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingInputError, match="no configuration file"):
        settings.read(tmp_path / "none.toml")
