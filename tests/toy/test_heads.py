"""Heads trained jointly, in turn and separately: frozen heads stay, slots do not mix, planted copies are recovered."""

import pytest
import torch

from interp.errors import UsageError
from interp.toy import heads

TASK = heads.Task(wanted=2, tokens=3, length=4, slots=3, head_width=4)


def test_similarity_of_copies_is_one_and_of_independent_writes_none():
    generator = torch.Generator().manual_seed(0)
    first, other = torch.randn(4000, 5, generator=generator), torch.randn(4000, 5, generator=generator)
    turned = 3 * first @ torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    result = heads.similarity(torch.stack([first, turned, other, torch.zeros(4000, 5)], dim=1))
    assert result[0, 1] == pytest.approx(1, abs=1e-4)
    # 25 squared correlations of 4,000 independent pairs, each 1/4000 in the mean, over 5.
    assert result[0, 2] < 0.01
    assert result[3, 3] == 0


def test_heads_in_turn_keep_those_before_and_lower_the_loss():
    result = heads.train_in_turn(TASK, 2, (0, 1), steps=80)
    assert torch.equal(result[1].weights["0.q"][:, :4], result[0].weights["0.q"][:, :4])
    assert (result[0].weights["0.o"][:, :, 4:] == 0).all()
    assert (result[1].weights["0.o"][:, :, 8:] == 0).all()
    assert (result[1].loss < result[0].loss).all()


def test_heads_apart_fill_their_own_slots_and_the_first_is_the_same_as_alone():
    result = heads.train_separately(TASK, 2, (0, 1), steps=40)
    alone = heads.train_in_turn(TASK, 1, (0, 1), steps=40)
    assert torch.allclose(result[0].loss, alone[0].loss, atol=1e-3)
    assert (result[1].weights["0.v"][:, 4:8] != 0).any()
    assert (result[1].weights["0.v"][:, 8:] == 0).all()
    assert (result[0].writes[:, :, 1] == 0).all()


def test_two_heads_do_what_one_cannot():
    result = heads.train_jointly(TASK, (1, 2), (0, 0), steps=150)
    assert result.loss[1] < 0.1 < result.loss[0]


def test_more_tokens_than_there_are_is_refused():
    with pytest.raises(UsageError, match="wanted is 4"):
        heads.Task(wanted=4, length=4)


def test_layers_are_stacked_heads_a_later_one_reads_what_an_earlier_one_wrote():
    task = heads.Task(wanted=2, tokens=3, length=4, slots=2, head_width=6, layered=True)
    result = heads.train_in_turn(task, 2, (0, 1), steps=80)
    assert torch.equal(result[1].weights["0.q"], result[0].weights["0.q"])
    assert (result[0].weights["1.o"] == 0).all()
    assert (result[1].weights["1.q"][:, 6:] == 0).all()
    assert (result[1].loss < result[0].loss).all()
    # What the second layer writes depends on the first: without the first it is another.
    alone = {name: torch.zeros_like(w) if name[:2] == "0." else w for name, w in result[1].weights.items()}
    assert not torch.allclose(heads._judged(task, alone).writes[:, :, 1], result[1].writes[:, :, 1], atol=0.01)
    # The first layer of those trained apart is that of a network of one layer.
    apart = heads.train_separately(task, 2, (0, 1), steps=80)
    assert torch.allclose(apart[0].loss, result[0].loss, atol=1e-3)
    assert (apart[1].weights["1.v"] != 0).any()
