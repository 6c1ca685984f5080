"""Interventions: strength 0 is the model itself, an edit is what it says, a planted direction acts, others do not."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import interp
import probes
from interp import attribution, report
from interp.errors import UsageError
from interp.results import load
from probes.intervention.intervene import _Edit
from probes.intervention.question import Reading, reading
from tests import models

TEXTS = (
    "the tower is in Paris",
    "a tower is in London",
    "London is a tower",
    "the Paris",
    "a b is in the tower",
    "b is a",
)
ASKED = probes.Question(prompt="a {statement} is", answers=(" Paris", " London"))
ROUNDING = 1e-5
"""On log-probabilities of about 5, float32: two implementations sum in different orders."""


@pytest.fixture(scope="module")
def llama() -> interp.Model:
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def data() -> probes.Statements:
    rows = [{"statement": text, "label": i % 2, "group": f"g{i}"} for i, text in enumerate(TEXTS)]
    return probes.read_statements(rows, name="towers")


def intervene(model, w, data, **settings):
    """`probes.intervene` with what is changed as its arguments, and the rest as its configuration."""
    own = {name: settings.pop(name) for name in ("layers", "mode", "strengths", "seed") if name in settings}
    return probes.intervene(model, w, data, config=probes.InterventionConfig(**settings), **own)


def direction(d: int = 24, seed: int = 3) -> torch.Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_transformers(model, prompt, answer, edits=None):
    """log P(answer | prompt) from the `transformers` model, with `edits` {layer: (positions, vector)} as hooks."""
    ids, tail = (model.tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, answer))
    handles = []

    def add(positions, vector):
        def hook(_, __, output):
            stream = (output[0] if isinstance(output, tuple) else output).clone()
            stream[0, positions] += vector
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        return hook

    for layer, (positions, vector) in (edits or {}).items():
        handles.append(model.parts.blocks[layer].register_forward_hook(add(positions, vector.to(model.dtype))))
    try:
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([ids + tail])).logits[0].double().log_softmax(-1)
    finally:
        for handle in handles:
            handle.remove()
    return sum(float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(tail))


@pytest.mark.parametrize("name", models.NAMES)
def test_agrees_with_hooks_on_transformers(name, data):
    """Clean and edited, at two layers and two positions, answers of one and of several tokens."""
    model, w = models.load(name, text=True), direction()
    asked = probes.Question(prompt="a {statement} is", answers=(" a Paris", " in the London"))
    result = intervene(
        model,
        w,
        data,
        layers=[0, 1],
        positions=(-2, -1),
        strengths=(2.0,),
        step=1.5,
        question=asked,
        n_controls=1,
        batch_size=4,
    )
    assert result.strengths == (0.0, 2.0)
    for i, text in enumerate(data.statements):
        last = len(text.split(" "))  # the prompt has one word before the statement
        change = ([last - 1, last], 2.0 * 1.5 * w / w.norm())
        for a, answer in enumerate(asked.answers):
            clean = by_transformers(model, f"a {text} is", answer)
            edited = by_transformers(model, f"a {text} is", answer, {0: change, 1: change})
            assert result.log_probabilities[0, 0, i, a] == pytest.approx(clean, abs=10 * ROUNDING)
            assert result.log_probabilities[0, 1, i, a] == pytest.approx(edited, abs=10 * ROUNDING)
            assert abs(clean - edited) > 1e-3  # the edit does something: ten times the tolerance


def test_strength_zero_and_batches(llama, data):
    settings = dict(layers=0, question=ASKED, n_controls=2, strengths=(-1.0, 1.0))
    result = intervene(llama, direction(), data, **settings)
    clean = result.strengths.index(0.0)
    assert (result.log_probabilities[:, clean] == result.log_probabilities[0, clean]).all()
    assert (result.effects(0)[:, clean] == 0).all()
    for batch in (1, 3):
        other = intervene(llama, direction(), data, batch_size=batch, **settings)
        assert np.abs(other.log_probabilities - result.log_probabilities).max() < 10 * ROUNDING
    again = intervene(llama, direction(), data, **settings)
    assert np.array_equal(again.log_probabilities, result.log_probabilities)
    other_seed = intervene(llama, direction(), data, seed=1, **settings)
    assert np.array_equal(other_seed.log_probabilities[0], result.log_probabilities[0])
    assert not np.array_equal(other_seed.log_probabilities[1], result.log_probabilities[1])


def test_the_length_of_the_direction_does_not_matter_and_its_sign_does(llama, data):
    settings = dict(layers=0, question=ASKED, n_controls=1)
    result, longer, opposite = (intervene(llama, factor * direction(), data, **settings) for factor in (1.0, 7.0, -1.0))
    assert np.allclose(result.log_probabilities[0], longer.log_probabilities[0], atol=10 * ROUNDING)
    assert np.allclose(result.log_probabilities[0], opposite.log_probabilities[0, ::-1], atol=10 * ROUNDING)


def test_edits():
    """Removing leaves no variance along the direction and nothing else changed; adding the rest back restores."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 24, generator=generator, dtype=torch.float64)
    unit = direction() / direction().norm()
    mean = float((x @ unit).mean())
    edit = _Edit("remove", unit, {1: 1.0}, {1: mean})
    removed = edit(x, 1, 1.0)
    assert torch.allclose(removed @ unit, torch.full((50,), mean, dtype=torch.float64))
    across = torch.eye(24, dtype=torch.float64) - torch.outer(unit, unit)
    assert torch.allclose(removed @ across, x @ across)
    assert torch.allclose(removed + ((x @ unit) - mean)[:, None] * unit, x)
    assert torch.equal(edit(x, 1, 0.0), x)
    add = _Edit("add", unit, {1: 2.0}, {})
    assert torch.allclose(add(add(x, 1, 1.5), 1, -1.5), x)
    assert float((add(x, 1, 1.0) - x).norm(dim=1).mean()) == pytest.approx(2.0)


@pytest.fixture(scope="module")
def planted(llama, data):
    """Added: what the unembedding reads for Paris over London. Asked right behind the statement, at its last token."""
    a, b = (llama.to_single_token(answer) for answer in ASKED.answers)
    columns, _ = llama.weights.unembed(torch.tensor([a, b]))
    written = (columns[:, 0] - columns[:, 1]).double()
    asked, strengths = replace(ASKED, prompt="{statement}"), (-2.0, -1.0, 1.0, 2.0)
    return intervene(
        llama, written, data, layers=2, positions=(-1,), strengths=strengths, step=3.0, question=asked, n_controls=40
    )


class TestPlanted:
    """A direction that is known to write the answer."""

    def test_acts_in_proportion_and_beyond_random_directions(self, planted):
        for label in (0, 1):
            effects = planted.effects(label)
            assert (np.diff(effects[0]) > 0).all()  # dose and response
            assert effects[0, -1] > effects[1:, -1].max() and effects[0, 0] < effects[1:, 0].min()
            assert planted.share_beyond(label, 2.0) == pytest.approx(1 / 41)
        assert "outside the 95 % range of 40 random directions of the same length" in planted.sentences()[-1]

    def test_a_random_direction_does_not_stand_out(self, llama, data):
        asked = replace(ASKED, prompt="{statement}")
        null = intervene(
            llama, direction(seed=11), data, layers=2, positions=(-1,), step=3.0, question=asked, n_controls=40
        )
        assert null.share_beyond(0, 1.0) > 0.05 and "within the 95 % range" in null.sentences()[-1]

    def test_normalised_only_above_noise(self, planted, data):
        """Labels that follow the model's own answers give a denominator; labels at random a sentence instead."""
        assert planted.normalised(0) is None and "do not separate true from false" in planted.refusal
        assert all(row[7] is None for row in planted.table().rows)
        clean = planted.difference[0, planted.strengths.index(0.0)]
        separated = replace(planted, labels=(clean > np.median(clean)).astype(np.int8))
        value, low, high = separated.denominator
        assert 0 < low <= value <= high and separated.refusal == ""
        nie = separated.normalised(0)
        assert nie is not None and np.allclose(nie, separated.effects(0) / value)
        opposite = separated.normalised(1)
        assert opposite is not None and np.allclose(opposite, -separated.effects(1) / value)
        turned = replace(separated, labels=1 - separated.labels)
        assert turned.normalised(0) is None and "answers true more often for false statements" in turned.refusal

    def test_shown_saved_and_loaded_without_torch(self, planted, tmp_path):
        table, figure = planted.table(), planted.figure()
        assert isinstance(table, report.Table) and len(table.rows) == 2 * len(planted.strengths)
        assert isinstance(figure, report.Figure) and "random" in table.caption
        planted.save(tmp_path)
        assert load(tmp_path) == planted
        code = f"""import sys; from interp.results import load; r = load({str(tmp_path)!r}); r.table(); r.sentences()
sys.exit('torch' in sys.modules)"""
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_mass_and_denominator_are_reported(self, planted):
        mass = planted.mass[0, planted.strengths.index(0.0)].mean()
        assert f"have {mass:.0%} of the probability" in planted.sentences()[0]
        assert 0 < mass < 1


def test_removing(llama, data):
    result = intervene(llama, direction(), data, layers=[0, 1], mode="remove", question=ASKED, n_controls=3)
    assert result.strengths == (-1.0, 0.0, 1.0) and len(result.sentences()) >= 3
    assert "removed from" in result.table().caption


def test_the_step_is_the_distance_of_the_means(llama, data):
    """Against `collect`: without a prompt, the activations of the statement are those of the statement alone."""
    acts, w = probes.collect(llama, data, layers=[0, 1]), direction()
    result = intervene(
        llama, w, data, layers=[1, 0], positions=(-1,), question=replace(ASKED, prompt="{statement} is"), n_controls=1
    )
    for layer, step in zip(result.layers, result.steps, strict=True):
        x = acts.at(layer).double() @ (w / w.norm())
        true = torch.from_numpy(data.labels == 1)
        assert step == pytest.approx(abs(float(x[true].mean() - x[~true].mean())), rel=1e-4)


class TestQuestion:
    """How answers are read."""

    @pytest.mark.parametrize(
        ("true", "false", "read", "expected"),
        [
            ("ab", "cd", "total", Reading((("a",), ("c",)), (0, 1), (("a", "b"), ("c", "d")), 0)),
            ("a", "b", "total", Reading(((),), (0, 0), (("a",), ("b",)), 0)),
            ("a", "bc", "total", Reading((("b",),), (0, 0), (("a",), ("b", "c")), 0)),
            ("xab", "xb", "first", Reading((("x",),), (0, 0), (("a",), ("b",)), 1)),
            ("ab", "cd", "first", Reading(((),), (0, 0), (("a",), ("c",)), 0)),
        ],
    )
    def test_readings(self, true, false, read, expected):
        assert reading(probes.Question(answers=(true, false), read=read), list) == expected  # type: ignore[arg-type]

    def test_first_differing_token_is_read_behind_what_is_shared(self, llama, data):
        asked = probes.Question(prompt="a {statement} is", answers=(" in Paris", " in London a"), read="first")
        result = intervene(llama, direction(), data, layers=0, question=asked, n_controls=1)
        for i, text in enumerate(data.statements):
            for a, word in enumerate((" Paris", " London")):
                expected = by_transformers(llama, f"a {text} is in", word)
                assert result.log_probabilities[0, 1, i, a] == pytest.approx(expected, abs=10 * ROUNDING)

    def test_shots(self, llama, data):
        asked = probes.Question(prompt="{statement} is", answers=(" Paris", " London"), shots=data.take([0, 1]))
        assert asked.ask("b")[0] == "the tower is in Paris is London\n\na tower is in London is Paris\n\nb is"
        result = intervene(llama, direction(), data.take([2, 3]), layers=0, question=asked, n_controls=1)
        for i, text in enumerate(TEXTS[2:4]):
            expected = by_transformers(llama, asked.ask(text)[0], " Paris")
            assert result.log_probabilities[0, 1, i, 0] == pytest.approx(expected, abs=10 * ROUNDING)
        with pytest.raises(UsageError, match="is a few-shot example and is also asked about"):
            intervene(llama, direction(), data, layers=0, question=asked, n_controls=1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (dict(prompt="Is it true?"), "must contain {statement} exactly once"),
            (dict(read="last"), 'read="last" is unknown'),
        ],
    )
    def test_refused(self, arguments, message):
        with pytest.raises(UsageError, match=re.escape(message)):
            probes.Question(**arguments)

    @pytest.mark.parametrize("answers", [(" Paris", " Paris"), (" Paris", " Paris London")])
    def test_answers_that_cannot_be_distinguished(self, llama, data, answers):
        with pytest.raises(UsageError, match="are equal or one begins with the other"):
            intervene(llama, direction(), data, layers=0, question=replace(ASKED, answers=answers), n_controls=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(layers=3), "Layer 3 does not exist: layers are numbered from 0 to 2"),
        (dict(layers=-2), "Layer -2 does not exist"),
        (dict(layers=[]), "layers=[] is empty"),
        (dict(mode="erase"), 'mode="erase" is unknown'),
        (dict(n_controls=0), "is too small"),
        (dict(strengths=()), "give at least one finite number"),
        (dict(strengths=(np.nan,)), "give at least one finite number"),
        (dict(positions=(0,)), "counted from the end"),
        (dict(positions="last"), "counted from the end"),
        (dict(positions=(-3,)), '"the Paris" has 2 tokens'),
        (dict(prepend_bos=None, direction=torch.zeros(24)), "is zero or contains NaN"),
        (dict(direction=torch.ones(23)), "has 23 numbers, but the residual stream has 24"),
    ],
)
def test_refused(llama, data, changed, message):
    w = changed.pop("direction", direction())
    with pytest.raises(UsageError, match=re.escape(message)):
        intervene(llama, w, data, **{"layers": 0, "question": ASKED, "n_controls": 1} | changed)


def test_the_configuration_has_defaults_and_is_checked(llama, data):
    """Twenty random directions at the last two tokens, unless the configuration says otherwise."""
    with pytest.raises(
        UsageError, match="are equal or one begins"
    ):  # the default question, in words this tokenizer lacks
        probes.intervene(llama, direction(), data, layers=0)
    result = intervene(llama, direction(), data, layers=0, question=ASKED)
    assert result.log_probabilities.shape == (21, 3, 6, 2) and result.positions == ("-2", "-1")
    with pytest.raises(UsageError, match="config"):
        probes.intervene(llama, direction(), data, layers=0, config={"n_controls": 3})  # type: ignore[arg-type]


def test_one_class_is_refused(llama, data):
    with pytest.raises(UsageError, match="has one class only"):
        intervene(llama, direction(), data.take([0, 2]), layers=0, question=ASKED)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "neox"])
@pytest.mark.parametrize("layer", [-1, 1, 2])
def test_a_probe_as_a_target(name, layer, data):
    """What components write along a probe's direction sums to its score less its bias, and so does the path tree."""
    model = models.load(name, dtype=torch.float64, text=True)
    acts = probes.collect(model, data)
    probe = probes.MassMean().fit(acts.at(layer), data.labels)
    target = probes.as_target(model, probe, layer)
    assert f"{probe.bias_:+.3f}" in target.name
    text = data.statements[0]
    score = float(probe.decision_function(acts.at(layer)[:1])[0]) - probe.bias_
    frozen = attribution.freeze(model, model.to_tokens(text))
    direct = attribution.direct(frozen, target)
    size = float(direct.values.abs().sum())
    assert direct.total == pytest.approx(score, abs=1e-6 * size)  # collected in float32
    if layer >= 0:
        tree = attribution.path_tree(frozen, target, max_expansions=20)
        assert tree.total == pytest.approx(score, abs=1e-6 * size) and tree.error < 1e-10


def test_what_cannot_be_a_target(llama, data):
    with pytest.raises(UsageError, match="has no direction_: give a fitted linear probe"):
        probes.as_target(llama, probes.MassMean(), 0)
    fitted = probes.MassMean().fit(probes.collect(llama, data).at(0), data.labels)
    with pytest.raises(UsageError, match="Layer 3 does not exist"):
        probes.as_target(llama, fitted, 3)
