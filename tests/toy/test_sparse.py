"""Tasks have the answers they say; few weights stay; circuits are faithful and smaller than chance finds."""

import pytest
import torch

from interp.errors import UsageError
from interp.toy import sparse


def drawn(name, count=300):
    return sparse.sequences(name).draw(count, torch.Generator().manual_seed(0))


def test_answers_are_right():
    for sequence, answer in zip(*drawn("quotes"), strict=True):
        assert int(sequence[(sequence == 8) | (sequence == 9)]) - 8 == answer
    for sequence, answer in zip(*drawn("brackets"), strict=True):
        depth = torch.where(sequence[:-1] == 0, 1, -1).cumsum(0)
        assert depth.min() >= 0
        assert int(depth[-1]) == (1, 3)[int(answer)]
    for sequence, answer in zip(*drawn("lookup"), strict=True):
        table = {int(pair) // 4: int(pair) % 4 for pair in sequence[:-1]}
        assert len(table) == 4
        assert table[int(sequence[-1]) - 16] == answer


def test_every_answer_occurs():
    for name in sparse.NAMES:
        share = drawn(name, 2000)[1].bincount(minlength=sparse.sequences(name).answers) / 2000
        assert share.min() > 0.1


@pytest.fixture(scope="module")
def networks():
    task = sparse.sequences("quotes")
    few = sparse.train(task, density=0.2, seeds=(0, 1), steps=150, width=16, mlp=16, heads=2)
    many = sparse.train(task, density=1.0, seeds=(0, 1), steps=60, width=16, mlp=16, heads=2, until=few.loss)
    return task, few, many


def test_each_matrix_has_its_share_of_weights_and_learns_with_them(networks):
    _, few, many = networks
    for name, w in few.weights.items():
        if w.ndim > 2:
            # Rounded up to a whole number; a weight may also happen to be 0.
            assert ((w != 0).flatten(1).sum(1) <= 0.2 * w[0].numel() + 1).all(), name
    assert (few.accuracy > 0.95).all()
    assert all((w != 0).float().mean() > 0.9 for w in many.weights.values() if w.ndim > 2)


def test_a_dense_network_stops_at_the_loss_of_the_sparse_one(networks):
    _, few, many = networks
    assert (many.loss <= few.loss + 1e-6).all()
    assert (many.steps < 60).all()


def test_a_circuit_is_faithful_and_smaller_than_one_of_random_edges(networks):
    task, few, _ = networks
    result = sparse.circuit(few, task)
    assert (result.faithfulness >= 0.9).all()
    assert torch.allclose(sparse.faithfulness(few, task, result.masks), result.faithfulness, atol=1e-5)
    assert (result.edges < result.random_edges).all()
    assert (result.random_edges <= result.total).all()


def test_all_edges_are_faithful_and_none_are_not(networks):
    task, few, _ = networks
    matrices = {name: w for name, w in few.weights.items() if w.ndim > 2 and name != "position"}
    every, none = ({name: torch.full_like(w, value) for name, w in matrices.items()} for value in (1.0, 0.0))
    assert torch.allclose(sparse.faithfulness(few, task, every), torch.ones(2), atol=1e-5)
    assert torch.allclose(sparse.faithfulness(few, task, none), torch.zeros(2), atol=1e-5)


def test_bad_settings_are_one_sentence():
    with pytest.raises(UsageError, match='nearest is "quotes"'):
        sparse.sequences("quote")
    with pytest.raises(UsageError, match="density is 0"):
        sparse.train(sparse.sequences("quotes"), density=0.0, seeds=(0,))
