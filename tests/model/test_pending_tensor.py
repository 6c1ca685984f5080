"""Logits that are computed when they are first used: indistinguishable from logits, and computed once."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from interp.model.pending_tensor import pending

VALUES = torch.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])


@pytest.fixture
def calls():
    return []


@pytest.fixture
def one(calls):
    def compute():
        calls.append(1)
        return VALUES.clone()

    return pending(compute, shape=(2, 3), dtype=torch.float32, device=torch.device("cpu"))


USES = {
    "arithmetic": lambda x: x * 2 + 1,
    "from the right": lambda x: 1 - x,
    "with itself": lambda x: x - x.mean(),
    "matrix product": lambda x: x @ x.T,
    "comparison": lambda x: x > 0,
    "index": lambda x: x[0, -1],
    "mask": lambda x: x[x > 0],
    "slice": lambda x: x[:, 1:],
    "softmax": lambda x: x.softmax(-1),
    "top": lambda x: x.topk(2).indices,
    "stack": lambda x: torch.stack([x, x]),
    "function": lambda x: torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])),
    "another dtype": lambda x: x.double(),
    "detach": lambda x: x.detach(),
    "clone": lambda x: x.clone(),
    "copy": copy.deepcopy,
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "loop": lambda x: torch.stack(list(x)),
    "into another": lambda x: torch.zeros(2, 3).copy_(x),
    "assigned": lambda x: torch.zeros(2, 3).index_put((torch.tensor([0, 1]),), x),
}


@pytest.mark.parametrize("use", USES)
def test_every_use_sees_the_values(use, one, calls):
    assert not calls
    assert torch.equal(USES[use](one), USES[use](VALUES))
    assert calls == [1]
    assert torch.equal(USES[use](one), USES[use](VALUES))
    assert calls == [1]


def test_leaving_torch(one):
    assert np.array_equal(one.numpy(), VALUES.numpy())
    assert np.array_equal(np.asarray(one), VALUES.numpy())
    assert one.tolist() == VALUES.tolist()
    assert one[0, 0].item() == float(one[0, 0]) == 1.0
    assert bool((one == VALUES).all())
    assert repr(one) == repr(VALUES)
    assert f"{one[1, 2]:.1f}" == "-6.0"


def test_shape_and_kind_cost_nothing(one, calls):
    assert (one.shape, one.dtype, one.device.type, one.ndim, len(one), one.numel()) == (
        torch.Size([2, 3]), torch.float32, "cpu", 2, 2, 6
    )  # fmt: skip
    assert one.size(-1) == 3
    assert isinstance(one, torch.Tensor)
    assert not one.requires_grad
    assert not calls


def test_a_failure_is_the_computations_own_and_is_tried_again(calls):
    def compute():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return VALUES

    late = pending(compute, shape=(2, 3), dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(RuntimeError, match="out of memory"):
        late + 1
    assert torch.equal(late + 1, VALUES + 1)


def test_saving_and_pickling(one, tmp_path):
    torch.save(one, tmp_path / "x")
    assert torch.equal(torch.load(tmp_path / "x"), VALUES)
    assert torch.equal(pickle.loads(pickle.dumps(one)), VALUES)
