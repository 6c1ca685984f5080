"""Collected activations equal those of the model for every batch size, position and BOS setting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
import probes
from interp.errors import DamagedFileError, InterpError, MissingInputError, UsageError
from interp.model import trace
from probes import passes
from tests import models

TEXTS = (
    "the tower is in Paris",
    "the tower",
    "a tower is in the London",
    "London",
    "the tower is in a London is in Paris",
    "b is a",
)
ROUNDING = 1e-5
"""Relative, float32: matrix products of other shapes sum in another order."""


@pytest.fixture(scope="module")
def data() -> probes.Statements:
    rows = [{"statement": text, "label": i % 2, "group": text.split()[-1]} for i, text in enumerate(TEXTS)]
    return probes.read_statements(rows, name="towers")


@pytest.fixture(scope="module")
def llama() -> interp.Model:
    return models.load("llama", text=True)


def long(data: probes.Statements) -> probes.Statements:
    """Those of two tokens and more."""
    return data.take([i for i, text in enumerate(data.statements) if " " in text])


def reference(model: interp.Model, text: str) -> list[torch.Tensor]:
    """`transformers`' own hidden states of one statement, unpadded: (n_token, d) a layer; the last is normed."""
    with torch.no_grad():
        out = model.hf(input_ids=model.to_tokens(text), output_hidden_states=True)
    return [h[0] for h in out.hidden_states]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= ROUNDING * theirs.abs().max())


@pytest.mark.parametrize("name", models.NAMES)
def test_equals_transformers_but_for_its_normed_last(name, data):
    model = models.load(name, text=True)
    acts = probes.collect(model, data, batch_size=4)
    n_layer = model.spec.n_layer
    assert acts.layers == tuple(range(-1, n_layer)) and acts.values.dtype == torch.float32
    for i, text in enumerate(data.statements):
        states = reference(model, text)
        for layer in range(-1, n_layer - 1):
            assert close(acts.at(layer)[i], states[layer + 1][-1])
        assert not close(acts.at(n_layer - 1)[i], states[n_layer][-1])  # theirs is behind the final norm
        with torch.no_grad():  # and ours is what the final norm reads
            logits, _ = trace.unembed(model.weights, acts.at(n_layer - 1)[i][None, None], folded=False)
            assert close(logits[0, 0], model.hf(input_ids=model.to_tokens(text)).logits[0, -1])


def test_batch_and_company_change_rounding_only(llama, data):
    one = probes.collect(llama, data, batch_size=1, position=("last", "mean"), prepend_bos=True)
    for batch in (2, 5, 64):
        assert close(
            probes.collect(llama, data, batch_size=batch, position=("last", "mean"), prepend_bos=True).values,
            one.values,
        )
    order = [5, 0, 3, 1, 4, 2]
    shuffled = probes.collect(llama, data.take(order), position=("last", "mean"), prepend_bos=True)
    assert close(shuffled.values, one.values[:, :, order])


def test_positions_are_the_tokens_they_name(llama, data):
    data = long(data)
    rules = ("last", -2, "mean", "entity", "token: is")
    some = data.take([i for i, text in enumerate(data.statements) if " is" in text])
    acts = probes.collect(llama, some, position=rules)
    assert acts.positions == ("last", "-2", "mean", "entity", "token: is")
    for i, text in enumerate(some.statements):
        words, states = text.split(" "), reference(llama, text)
        last_is = max(k for k, word in enumerate(words) if word == "is")
        first_entity = words.index(some.groups[i][0])
        for layer in range(-1, llama.spec.n_layer - 1):
            stream = states[layer + 1]
            assert close(acts.at(layer, "last")[i], stream[-1])
            assert close(acts.at(layer, -2)[i], stream[-2])
            assert close(acts.at(layer, "mean")[i], stream[1:].mean(0))
            assert close(acts.at(layer, "entity")[i], stream[first_entity])
            assert close(acts.at(layer, "token: is")[i], stream[last_is])


def test_all_tokens(llama, data):
    acts, last = probes.collect(llama, data, position="all"), probes.collect(llama, data)
    values, there = acts.tokens(1)
    assert acts.whole and values.shape == (6, 9, 24) and there.sum(1).tolist() == acts.lengths.tolist()
    assert (values[~there] == 0).all()
    rows = torch.arange(6)
    assert torch.equal(values[rows, acts.lengths.long() - 1], last.at(1))
    assert torch.equal(acts.at(1, 0), values[:, 0])
    with pytest.raises(UsageError, match="1 of 6 statements have no token 1"):
        acts.at(1, 1)
    with pytest.raises(UsageError, match='collect with position="all"'):
        last.tokens(1)


def test_layers_and_names(llama, data):
    acts = probes.collect(llama, data, layers=["embed", 1])
    assert acts.layers == (-1, 1)
    assert acts.hook(-1) == acts.hook("embed") == "blocks.0.hook_resid_pre"
    assert acts.hook(1) == "blocks.1.hook_resid_post"
    whole = probes.collect(llama, data)
    assert torch.equal(acts.at(1), whole.at(1)) and torch.equal(acts.at("embed"), whole.at(-1))
    with pytest.raises(UsageError, match=r"Layer 0 was not collected\. Collected layers: -1, 1"):
        acts.at(0)
    with pytest.raises(UsageError, match='Position "mean" was not collected'):
        acts.at(1, "mean")
    many = probes.collect(llama, long(data), layers=0, position=("last", "mean"))
    with pytest.raises(UsageError, match="2 positions were collected: name one of"):
        many.at(0)


def test_bos_is_stored_and_checked(data):
    model = interp.load(models.build("llama"), tokenizer=models.tokenizer(bos=True))
    habit, plain = probes.collect(model, data), probes.collect(model, data, prepend_bos=False)
    assert habit.identity["prepend_bos"] is True and plain.identity["prepend_bos"] is False
    assert (habit.lengths == plain.lengths + 1).all()
    assert not close(habit.at(2), plain.at(2))
    with pytest.raises(UsageError, match="different BOS setting: with BOS and without BOS"):
        habit.check_same_model(plain)
    habit.check_same_model(habit)
    with_bos = probes.collect(model, data, position=("mean", "entity"))  # the mean now leaves out BOS alone
    for i, text in enumerate(data.statements):
        with torch.no_grad():
            stream = model.hf(input_ids=model.to_tokens(text), output_hidden_states=True).hidden_states[1][0]
        assert close(with_bos.at(0, "mean")[i], stream[1:].mean(0))
        assert close(with_bos.at(0, "entity")[i], stream[1 + text.split().index(data.groups[i][0])])


def test_other_weights_are_another_model(llama, data):
    other = models.load("llama", text=True, seed=1)
    with pytest.raises(UsageError, match="different weights"):
        probes.collect(llama, data).check_same_model(probes.collect(other, data))


def test_save_and_load(llama, data, tmp_path):
    acts = probes.collect(llama, long(data), position=("last", "mean"))
    acts.save(tmp_path / "a")
    result = probes.Activations.load(tmp_path / "a")
    assert torch.equal(result.values, acts.values) and torch.equal(result.lengths, acts.lengths)
    assert result.data == acts.data and result.identity == acts.identity
    assert (result.layers, result.positions) == (acts.layers, acts.positions)
    file = tmp_path / "a" / "activations.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match="collect the activations again"):
        probes.Activations.load(tmp_path / "a")
    acts.save(tmp_path / "b")
    data.save(tmp_path / "b")  # other statements in the same folder
    with pytest.raises(DamagedFileError, match="other statements than those in the same folder"):
        probes.Activations.load(tmp_path / "b")
    with pytest.raises(MissingInputError, match="No activations in"):
        probes.Activations.load(tmp_path / "c")


def test_take(llama, data):
    acts = probes.collect(llama, data)
    mask = np.array([True, False, True, True, False, False])
    some = acts.take(mask)
    assert some.data == data.take(mask) and torch.equal(some.at(0), acts.at(0)[torch.from_numpy(mask)])


class TestStore:
    """A folder that keeps every token's activations."""

    def test_a_second_call_runs_no_model(self, llama, data, tmp_path, monkeypatch):
        first = probes.collect(llama, data, store=tmp_path / "s", batch_size=2)
        monkeypatch.setattr(type(llama), "run_with_cache", None)
        again = probes.collect(llama, data, store=tmp_path / "s", position="all", batch_size=5)
        values, _ = again.tokens(1)
        assert torch.equal(values[torch.arange(6), again.lengths.long() - 1], first.at(1))
        part = probes.collect(llama, data, store=tmp_path / "s", layers=[0])
        assert torch.equal(part.at(0), first.at(0))

    def test_equals_no_store(self, llama, data, tmp_path):
        data = long(data)
        rules = ("last", "mean")
        stored = probes.collect(llama, data, store=tmp_path / "s", position=rules)
        assert close(stored.values, probes.collect(llama, data, position=rules).values)

    def test_of_something_else_is_refused(self, llama, data, tmp_path):
        probes.collect(llama, data, store=tmp_path / "s", layers=[0])
        with pytest.raises(UsageError, match="contains other text"):
            probes.collect(llama, long(data), store=tmp_path / "s", layers=[0])
        with pytest.raises(UsageError, match="or the same text with another BOS setting"):
            probes.collect(llama, data, store=tmp_path / "s", layers=[0], prepend_bos=True)
        with pytest.raises(UsageError, match=r"does not contain blocks\.1\.hook_resid_post"):
            probes.collect(llama, data, store=tmp_path / "s", layers=[1])
        with pytest.raises(UsageError, match="harvested from"):
            probes.collect(models.load("llama", text=True, seed=1), data, store=tmp_path / "s", layers=[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(position="first"), 'Unknown position "first"'),
        (dict(position="0"), 'Unknown position "0"'),
        (dict(position=()), "No position was given"),
        (dict(position=("all", "last")), "give it alone"),
        (dict(position="mean"), r'Row 4, "London", has 1 tokens: its mean excludes the first token'),
        (dict(position=-3), r"has 2 tokens: position -3 does not exist"),
        (dict(position="token:Rome"), '"Rome" does not occur in "the tower is in Paris"'),
        (dict(layers=3), r"Layer 3 does not exist: layers are numbered from 0 to 2, .* and the embedding is -1"),
        (dict(layers=-2), "Layer -2 does not exist"),
        (dict(layers=1.0), "layers must be text or a whole number or a sequence, not 1.0"),
        (dict(layers=None), "layers must be text or a whole number or a sequence, not None"),
        (dict(layers="first"), "Layer 'first' does not exist"),
        (dict(layers=[]), "layers=\\[\\] is empty"),
        (dict(batch_size=0), "batch_size must be a whole number of at least 1"),
        (dict(max_gigabytes=1e-9), "choose fewer layers or positions"),
    ],
)
def test_refused(llama, data, arguments, message):
    with pytest.raises(UsageError, match=message):
        probes.collect(llama, data, **arguments)


def test_an_entity_that_is_not_there(llama, data):
    odd = probes.read_statements([{"statement": "the tower", "label": i, "group": "Rome"} for i in (0, 1)])
    with pytest.raises(UsageError, match='"Rome" does not occur in "the tower"'):
        probes.collect(llama, odd, position="entity")


def test_nan_never_passes(data):
    model = models.load("gpt2", text=True)
    with torch.no_grad():
        model.hf.transformer.h[1].mlp.c_proj.bias[3] = torch.nan
    with pytest.raises(InterpError, match='Layer 1 has NaN or infinite activations for the statement "'):
        probes.collect(model, data)
    assert torch.isfinite(probes.collect(model, data, layers=[-1, 0]).values).all()  # the layers before it are sound


@pytest.mark.real
def test_the_real_model(smollm2):
    """Against transformers' own hidden states, unpadded; statements of 7 to 14 tokens, padded in batches."""
    data = probes.generate("cities").take(range(0, 408, 40))
    acts = probes.collect(smollm2, data, position=("last", "mean", "entity"), batch_size=4)
    assert acts.identity["prepend_bos"] is False and acts.values.shape[1] == 31
    for i, text in enumerate(data.statements):
        states = reference(smollm2, text)
        for layer in (-1, 0, 12, 28):
            assert close(acts.at(layer, "last")[i], states[layer + 1][-1])
        # 1e-3: the mean is taken where position 0, which it leaves out, is a hundred times larger.
        assert (acts.at(12, "mean")[i] - states[13][1:].mean(0)).abs().max() < 1e-3
        assert not close(acts.at(29, "last")[i], states[30][-1])
        mentioned = smollm2.to_str_tokens(text)[
            : int((states[13] - acts.at(12, "entity")[i]).abs().sum(1).argmin()) + 1
        ]
        assert "".join(mentioned).endswith(data.groups[i][0])


@pytest.mark.parametrize("position", ["last", "mean", "all"])
def test_prefixes_that_statements_share_are_run_once(llama, data, monkeypatch, position):
    data = long(data)
    arguments = {"position": position, "batch_size": 4}
    plain, likely = probes.collect(llama, data, **arguments), probes.log_probs(llama, data)
    computed = []
    run = passes.run_prefixes
    monkeypatch.setattr(passes, "run_prefixes", lambda *a, **k: computed.append(len(a[1])) or run(*a, **k))
    assert not computed
    monkeypatch.setattr(passes, "STEP", 0)  # forward passes that cost nothing: what is shared is always worth it
    for rows in (512, 2):
        monkeypatch.setattr(passes, "MAX_ROWS", rows)
        acts, both = probes.collect_with_log_probs(llama, data, **arguments)
        assert close(acts.values, plain.values) and acts.data is data
        np.testing.assert_allclose(both, likely, rtol=1e-5)
        np.testing.assert_allclose(probes.log_probs(llama, data), likely, rtol=1e-5)
        assert close(probes.collect(llama, data, **arguments).values, plain.values)
    whole = sum(len(text.split()) for text in data.statements)
    assert computed[0] < whole - 5 and sum(computed) < 6 * whole
    monkeypatch.setattr(passes, "can_share", lambda *_: False)
    acts, both = probes.collect_with_log_probs(llama, data, **arguments)
    assert torch.equal(acts.values, plain.values)
    np.testing.assert_allclose(both, likely, rtol=1e-6)
