"""A fact and its denial are on one side in every set, and near-duplicates across sides are counted and reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import probes
from interp import results
from interp.errors import UsageError
from probes.facts import fact_of, near
from probes.protocol.resemblance import resemblance
from probes.statements import sharing_facts
from tests.probes.protocol.planted import activations

WORDS = ("whales", "stones", "poets", "rivers", "engines", "lamps", "kings", "seeds", "clouds", "horses")
VERBS = ("carry", "follow", "need", "contain", "resemble", "avoid", "protect", "fear", "hold")
VERBS += ("watch", "seek", "push", "lift", "draw", "owe", "keep", "lose", "own")


def free_facts(n: int = 140) -> list[str]:
    """Statements whose groups no rule finds: no two share most of their words."""
    rng = np.random.default_rng(0)
    pairs = [(a, v, b) for a in WORDS for v in VERBS for b in WORDS if a != b]
    chosen = rng.permutation(len(pairs))[:n]
    return [f"{a} {v} {b}{' today' * (i % 2)}" for i, (a, v, b) in enumerate(pairs[k] for k in chosen)]


def read(texts, labels, name, **columns):
    rows = [
        {"statement": text, "label": int(label), **{key: values[i] for key, values in columns.items()}}
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    ]
    return probes.read_statements(rows, name=name)


@pytest.fixture(scope="module")
def sets():
    """Facts and one denial of each: the label of one is the opposite of the other's."""
    texts, labels = free_facts(), np.arange(140) % 2
    plain = read([f"{t[0].upper()}{t[1:]}." for t in texts], labels, "plain")
    denied = read([f"It is not the case that {text}." for text in texts], 1 - labels, "denied")
    return plain, denied


def test_a_denial_is_the_fact_it_denies():
    for one, other in (
        ("Whales cannot fly.", "It's not true that whales can fly"),
        ("Smoking causes cancer.", "Smoking does not cause cancer."),
        ("He stopped the war.", "He didn’t stop the war."),
        ("There are planets with life.", "There are no planets with life."),
        ("She carries a bag.", "It is false that she carries a bag."),
    ):
        assert fact_of(one) == fact_of(other)
    assert fact_of("Whales can fly.") != fact_of("Whales can swim.")
    assert fact_of("No!") == "No!"  # nothing is left of it


def test_a_fact_is_on_one_side_in_both_sets(sets):
    plain, denied = probes.split(list(sets))
    np.testing.assert_array_equal(plain.train, denied.train)
    assert not (plain.train & denied.test).any()
    assert {data.group_kind for data in sets} == {"fact"}
    assert sets[0].grouped_by == "every fact its own group, stated or denied"


def test_a_fact_is_named_by_the_first_statement_of_it(sets):
    """A set split alone uses its own statements; sets split in one call use the first statement of all."""
    plain, denied = sets
    assert plain.groups == tuple((text,) for text in plain.statements)
    assert denied.groups == tuple((text,) for text in denied.statements)
    both = read(["Stones sink.", "Lamps glow.", "Stones do not sink."], [1, 1, 0], "both")
    assert both.groups == (("Stones sink.",), ("Lamps glow.",), ("Stones sink.",))
    shared = sharing_facts(sets)
    assert shared[0] == plain and shared[1].groups == plain.groups
    assert sharing_facts(sets[::-1])[1].groups == denied.groups
    alone, joint = probes.split(denied), probes.split(list(sets))[1]
    assert (alone.test != joint.test).any()  # otherwise this test could not distinguish them
    np.testing.assert_array_equal(probes.split(probes.join(sets)).test, np.tile(joint.test, 2))
    pairs = probes.paired(plain, denied)
    assert pairs.groups == plain.groups * 2


def test_leaving_a_set_out_puts_a_fact_on_one_side(sets):
    """Activations that name the fact and nothing else, as below: whoever learns a fact inverts its denial."""
    vectors = 3.0 * torch.randn(140, 64, generator=torch.Generator().manual_seed(0))
    acts = [activations(data, strength=0.0, entity=0.0, d=64) for data in sets]
    acts = [replace(one, values=one.values + vectors) for one in acts]
    result = probes.leave_one_out(acts, probe=probes.LDA(), layer=1)
    assert (result.auc[:, 1] < 0.5).all() and (result.auc[:, 2] > 0.5).all()


def test_what_is_remembered_of_a_fact_does_not_count_as_transfer(sets):
    """Activations that name only the fact: if a fact and its denial share a side, nothing transfers or inverts.

    If every statement is its own group, the denial of a fact learned as true is predicted true: inverted.
    """
    vectors = 3.0 * torch.randn(140, 64, generator=torch.Generator().manual_seed(0))
    acts = [activations(data, strength=0.0, entity=0.0, d=64) for data in sets]
    acts = [replace(one, values=one.values + vectors) for one in acts]
    result = probes.transfer(acts, probe=probes.LDA(), layer=1)
    assert result.auc_interval[0, 1, 0] < 0.5 < result.auc_interval[0, 1, 1]
    assert "inverted" not in {v.kind for v in result.verdicts}
    ungrouped = []
    for one in acts:  # as a column would say that names each statement a pair of its own
        texts = one.data.statements
        groups = tuple((text,) for text in texts)
        ungrouped.append(replace(one, data=replace(one.data, groups=groups, group_kind="pair", pair=texts)))
    leaking = probes.transfer(ungrouped, probe=probes.LDA(), layer=1)
    assert leaking.auc[0, 1] < 0.35
    assert next(v for v in leaking.verdicts if v.kind == "resembles").warning
    assert leaking.resemblances[1].rows > 20


def test_a_pair_column_ties_a_statement_to_its_denial():
    texts = free_facts(20)
    both = [*texts, *(f"Nobody thinks that {text}" for text in texts)]
    pairs = [f"p{i}" for i in range(20)] * 2
    pairs[0] = ""
    data = read(both, [0, 1] * 20, "both", pair=pairs)
    assert data.group_kind == "pair"
    assert data.groups[1] == data.groups[21] == ("p1",)
    assert data.groups[0] == (texts[0],)
    denials = [f"It is false that {text}." for text in texts]
    other = read(denials, [1, 0] * 10, "other", pair=["", *(f"P{i}" for i in range(1, 20))])
    shared = sharing_facts([data, other])
    assert shared[0] == data
    assert shared[1].groups[:2] == ((texts[0],), ("P1",))  # a fact is shared, and what a column names stays


def test_near_statements_are_counted_and_reported():
    """Four first words, or two thirds of all words."""
    texts = ["The average person eats ten ants.", "Stones sink.", "The average person eats no bread at all."]
    assert near(texts, ["The average person eats no bread."]).tolist() == [0, 2]
    assert near(["Old stones sink fast."], ["Old stones sink slowly fast."]).tolist() == [0]
    assert not len(near(["Cats are mammals."], ["Dogs are mammals.", "Cats purr."]))
    assert not len(near(["Cats are mammals."], []))


def test_a_sweep_says_how_many_test_facts_it_has_nearly_seen(sets, tmp_path):
    acts = activations(sets[0], strength=2.0, entity=0.0)
    swept = probes.sweep(acts, controls=False)
    assert swept.resemblance.rows < 0.1 * swept.n_test  # those of the same words in another order
    reads = next(v for v in swept.verdicts if v.kind == "reads")
    assert "about facts it was not trained on" in reads.text
    alike = replace(sets[0], statements=tuple(f"In the year of fire {s}" for s in sets[0].statements))
    swept = probes.sweep(replace(acts, data=alike), controls=False)
    assert swept.resemblance.rows == swept.n_test
    (verdict,) = [v for v in swept.verdicts if v.kind == "resembles"]
    assert f"{swept.n_test} of {swept.n_test} test statements of plain are nearly the same" in verdict.text
    swept.save(tmp_path)
    assert results.load(tmp_path) == swept


def test_the_second_of_two_quoted_words_is_reported_as_shared():
    words = [f"w{i}" for i in range(80)]
    texts = [f"The word '{word}' means 'gloss {i // 8}'." for i, word in enumerate(words)]
    data = read(texts, [i % 2 for i in range(80)], "words")
    assert data.group_kind == "quoted"
    swept = probes.sweep(activations(data, strength=2.0), controls=False)
    assert swept.resemblance.rows > 0.9 * swept.n_test
    assert "share another quoted text with a train statement" in " ".join(v.text for v in swept.verdicts)
    named = replace(data, group_kind="column")
    assert resemblance(named, named) is None
    assert probes.sweep(activations(named, strength=2.0), controls=False).resemblance is None


def test_facts_mixed_with_sets_of_named_entities_are_refused(sets):
    """Their groups have no common names: an entity learned in one would be tested in the other."""
    named = replace(sets[0], name="named", groups=tuple((s.split()[0],) for s in sets[0].statements))
    with pytest.raises(UsageError, match="could be learned from one set and tested in the other"):
        probes.transfer([activations(sets[1]), activations(named)], probe=probes.MassMean())
