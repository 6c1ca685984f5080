"""Training finds planted features and nothing in noise, is reproducible, and goes on where it stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saes
from interp.errors import UsageError
from interp.threads import one_thread
from saes.config import ARCHITECTURES
from saes.training import data
from tests.saes.training.planted import D, activations, cosines, fvu

SMALL = saes.Config(width=24, k=4, steps=14, batch_size=64, lr=3e-3, dead_after=3, average=0.9)


@pytest.fixture(autouse=True)
def single_thread() -> Iterator[None]:
    """Bit for bit holds for one number of threads: more of them may split a sum differently."""
    with one_thread():
        yield


def noise(n: int, seed: int) -> Tensor:
    """Isotropic Gaussian activations: no direction is special."""
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


FINDS = {
    "topk": {},
    "batchtopk": {},
    "matryoshka": {"groups": (72, 96)},
    "standard": {"sparsity": 0.6},
    "gated": {"sparsity": 0.7},
    "jumprelu": {"sparsity": 0.4},
}


def recovering(name: str) -> saes.Config:
    """A run that is long enough for 64 features in 32 dimensions."""
    return saes.Config(name, width=96, k=4, steps=500, batch_size=256, lr=1e-2, dead_after=100, **FINDS[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planted_features_are_recovered_and_held_out_data_explained(name: str) -> None:
    sae = saes.train(recovering(name), activations(20_000))
    result, stored = cosines(sae.W_dec), activations(2000, seed=2)
    assert result.mean() > 0.95
    assert fvu(sae, stored) < 0.25
    length = sae.W_dec.norm(dim=1)
    torch.testing.assert_close(length, torch.ones_like(length))
    start = saes.Trainer(recovering(name), activations(4096)).weights["decoder"]
    assert cosines(start).mean() < 0.6  # an untrained dictionary is at chance: nothing leaks from the truth


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
def test_in_noise_nothing_is_claimed(name: str) -> None:
    """Cosines with the planted features stay at chance, and two seeds' dictionaries do not agree."""
    config = replace(recovering(name), steps=200)
    first, second = (saes.train(replace(config, seed=seed), noise(20_000, 5)) for seed in (0, 1))
    chance = cosines(noise(96, 9)).mean()
    assert abs(cosines(first.W_dec).mean() - chance) < 0.05  # 64 cosines of standard deviation 0.07
    agreement = (first.W_dec @ second.W_dec.T).max(1).values.mean()
    random = torch.nn.functional.normalize(noise(96, 9)) @ second.W_dec.T
    assert abs(agreement - random.max(1).values.mean()) < 0.1
    planted = [saes.train(replace(config, seed=seed), activations(20_000)) for seed in (0, 1)]
    assert (planted[0].W_dec @ planted[1].W_dec.T).max(1).values.mean() > agreement + 0.2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_run_that_goes_on_ends_bit_for_bit_as_one_that_never_stopped(name: str) -> None:
    config, x = replace(SMALL, architecture=name, groups=()), activations(500)
    whole = saes.Trainer(config, x)
    for _ in range(config.steps):
        whole.step()
    stopped = saes.Trainer(config, x)
    for _ in range(9):  # past an epoch of 7 batches, and past the first dead latents
        stopped.step()
    resumed = saes.Trainer(config, x)
    resumed.load_state(*stopped.state())
    while resumed.step_number < config.steps:
        resumed.step()
    expected, _ = whole.state()
    result, _ = resumed.state()
    assert result.keys() == expected.keys()
    del result["history"], expected["history"]  # holds clock time
    assert all(torch.equal(result[key], expected[key]) for key in expected)
    sae, other = whole.finish(), resumed.finish()
    assert all(torch.equal(a, b) for a, b in zip(sae.parameters(), other.parameters(), strict=True))
    assert other.history["loss"].tolist() == sae.history["loss"].tolist()


def test_a_state_is_a_copy() -> None:
    trainer = saes.Trainer(SMALL, activations(500))
    trainer.step()
    tensors, _ = trainer.state()
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    trainer.step()
    assert all(torch.equal(tensors[name], before[name]) for name in before)
    assert not torch.equal(trainer.state()[0]["weights.encoder"], before["weights.encoder"])


def test_a_state_of_another_shape_is_refused() -> None:
    state = saes.Trainer(SMALL, activations(500)).state()
    with pytest.raises(UsageError, match=r"does not fit this configuration: weights\.encoder"):
        saes.Trainer(replace(SMALL, width=25), activations(500)).load_state(*state)


def test_the_seed_decides_everything() -> None:
    x = activations(500)
    first, again = saes.train(SMALL, x), saes.train(SMALL, x)
    other = saes.train(replace(SMALL, seed=1), x)
    assert torch.equal(first.W_enc, again.W_enc) and not torch.equal(first.W_enc, other.W_enc)


def test_a_tensor_and_a_stream_of_the_same_batches_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SAMPLE", 448)  # both look at the seven batches of the first epoch
    x = activations(448)
    batches = [pair[0] for pair in islice(data.open_source(SMALL, x).batches(0), SMALL.steps)]
    assert torch.equal(saes.train(SMALL, iter(batches)).W_dec, saes.train(SMALL, x).W_dec)
    assert not torch.equal(saes.train(SMALL, iter(batches[::-1])).W_dec, saes.train(SMALL, x).W_dec)


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_the_threshold_keeps_k_active_on_held_out_data(name: str) -> None:
    config = replace(recovering(name), steps=100)
    sae = saes.train(config, activations(20_000))
    active = (sae.encode(activations(5000, seed=3)) > 0).sum(1).float()
    assert abs(float(active.mean()) - config.k) < 0.15  # 16,384 values chosen: its own error is 1 %
    assert active.std() > 0.5  # not the same number for every input
    torch.testing.assert_close(sae.threshold, sae.threshold[:1].expand(96))  # one for all latents


def test_topk_has_at_most_k_active_and_the_sparse_code_is_the_dense_one() -> None:
    sae, x = saes.train(SMALL, activations(500)), activations(50, seed=3)
    code = sae.encode(x)
    assert int((code > 0).sum(1).max()) <= SMALL.k
    values, latents = sae.encode_sparse(x)
    assert torch.equal(torch.zeros_like(code).scatter_(1, latents, values), code)
    other = saes.train(replace(SMALL, architecture="standard"), activations(500))
    assert torch.equal(other.encode_sparse(x).to_dense(), other.encode(x))


def test_revival_brings_dead_latents_back() -> None:
    """An offset kills half the latents at the start; the auxiliary loss finds them features, nothing else does."""
    config = saes.Config(width=64, k=4, steps=300, batch_size=256, lr=3e-3, dead_after=20, bias="zero")
    x = activations(20_000)
    with_it, without = (saes.train(replace(config, auxiliary=weight), x) for weight in (1 / 32, 0.0))
    assert without.history["dead"][-1] > 12 > 2 * with_it.history["dead"][-1]
    assert cosines(with_it.W_dec).mean() > cosines(without.W_dec).mean() + 0.05


def test_an_offset_kills_features_unless_the_bias_starts_at_it() -> None:
    x = noise(4000, 1) + 20 * torch.ones(D)
    config = saes.Config(width=128, k=4, steps=60, batch_size=256, lr=1e-3, dead_after=30, auxiliary=0.0)
    dead = {
        how: saes.train(replace(config, bias=how), x).history["dead"][-1]
        for how in ("zero", "mean", "geometric_median")
    }
    assert dead["zero"] > 40 and dead["mean"] < 10 and dead["geometric_median"] < 10


@pytest.mark.parametrize("name", ["topk", "batchtopk", "jumprelu"])
def test_float32_and_bfloat16_selection_agree(name: str) -> None:
    """Values are float32 either way, so training ends at the same quality."""
    x, stored = activations(20_000), activations(2000, seed=2)
    config = replace(recovering(name), steps=150)
    fine, rough = (fvu(saes.train(replace(config, precision=p), x), stored) for p in ("float32", "bfloat16"))
    assert fine != rough and abs(fine - rough) < 0.03


# What cannot be trained on, or with. Nothing is changed by a batch that is refused.


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_refused_before_a_weight_changes(bad: float) -> None:
    x = activations(300)
    x[250, 3] = bad
    with pytest.raises(UsageError, match=r"The inputs hold NaN or infinite values in 1 of 300 rows \(row 250\)"):
        saes.Trainer(SMALL, x)
    with pytest.raises(UsageError, match=r"The inputs of the first batches hold NaN"):
        saes.Trainer(SMALL, iter([x]))
    batches = [activations(64), *[activations(64, seed=9) for _ in range(300)]]
    trainer = saes.Trainer(SMALL, batches)
    trainer.step()
    before, _ = trainer.state()
    batches[1][5, 0] = bad  # damaged after it was looked at
    with pytest.raises(UsageError, match=r"inputs of batch 2 hold NaN or infinite values in 1 of 64 rows \(row 5\)"):
        trainer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.state()[0].items())
    assert trainer.step_number == 1


def test_outputs_that_are_not_finite_are_refused() -> None:
    x, y = activations(100), activations(100)
    y[3] = torch.nan
    with pytest.raises(UsageError, match="The outputs hold NaN"):
        saes.Trainer(replace(SMALL, variant="transcoder"), (x, y))


def test_constant_activations_are_refused() -> None:
    with pytest.raises(UsageError, match="All inputs are the same vector"):
        saes.Trainer(SMALL, torch.ones(100, 5))


def test_activations_beyond_float32_arithmetic_are_refused() -> None:
    with pytest.raises(UsageError, match="too large or too small for float32"):
        saes.Trainer(SMALL, activations(100) * 1e30)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match='device "cuda:99" is not available here'):
        saes.Trainer(SMALL, activations(100), device="cuda:99")
    with pytest.raises(UsageError, match='device "gpu" is not available here'):
        saes.train(SMALL, activations(100), device="gpu")


def test_batches_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match="first batches have rows of different lengths"):
        saes.Trainer(SMALL, [activations(64), torch.ones(64, 5)])
    trainer = saes.Trainer(SMALL, lambda: iter([activations(64)] * 256 + [torch.ones(64, 5)]))
    with pytest.raises(UsageError, match=r"has rows of 5 and 5 values; those before had 32 and 32"):
        for _ in range(300):
            trainer.step()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"k": 25}, "k=25 is larger than the width of 24 latents"),
        ({"architecture": "topkk"}, 'architecture "topkk" is not known; the nearest is "topk"'),
        ({"lr": float("nan")}, "lr=nan must be a finite number"),
        ({"lr": 0.0}, "lr=0.0 must be above zero"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"width": 24.5}, "width must be a whole number, not 24.5"),
        ({"lr_decay": 1.5}, "lr_decay=1.5 is a fraction"),
        ({"groups": (4, 24)}, 'groups is for architecture="matryoshka"'),
        ({"architecture": "matryoshka", "groups": (12, 4, 24)}, r"groups=\(12, 4, 24\) must rise"),
        ({"architecture": "matryoshka", "groups": (12, 20)}, "must rise from at least 1 to the width of 24"),
        ({"skip": True}, 'skip=True is for variant="transcoder"'),
        ({"skip": "yes"}, 'skip must be True or False, not "yes"'),
        ({"k": "4"}, 'k must be a whole number, not "4"'),
        ({"k": True}, "k must be a whole number, not True"),
        ({"lr": None}, "lr must be a number, not None"),
        ({"groups": 3}, "groups must be a sequence of whole numbers, not 3"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replace(SMALL, **wrong)


def test_k_binds_only_where_it_is_looked_at() -> None:
    """The default k of 32 does not refuse a small dictionary whose sparsity is not set by k."""
    for name in ("standard", "gated", "jumprelu"):
        sae = saes.train(saes.Config(name, width=8, steps=2, batch_size=16), activations(64))
        assert torch.isfinite(sae(activations(4))).all()
    with pytest.raises(UsageError, match="k=32 is larger than the width of 8"):
        saes.Config("batchtopk", width=8)


def test_numbers_of_numpy_become_plain_ones() -> None:
    config = saes.Config(width=np.int64(64), k=np.int32(4), lr=np.float32(0.5))  # pyright: ignore[reportArgumentType]
    assert config == saes.Config(width=64, k=4, lr=0.5)
    assert [type(v) for v in (config.width, config.k, config.lr)] == [int, int, float]


def test_defaults_depend_on_the_architecture() -> None:
    """They are worked out when asked for, so that a configuration can be changed with `replace`."""
    config = saes.Config("topk", width=64, k=4)
    assert (config.sparsity_weight, config.prefixes, config.first_density) == (0.0, (), 0.05)
    assert replace(config, architecture="standard").sparsity_weight == 2.0
    assert replace(config, architecture="standard", sparsity=0.3).sparsity_weight == 0.3
    nested = replace(config, architecture="matryoshka")
    assert nested.prefixes == (4, 16, 64) and replace(nested, groups=[8, 64]).prefixes == (8, 64)
    assert replace(config, width=51_200).first_density == 0.0025
