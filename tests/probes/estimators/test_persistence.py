"""A saved probe predicts as it did, knows where it belongs, and is refused elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import probes
from interp.errors import DamagedFileError, MissingInputError, UsageError
from tests.probes.planted import planted, planted_pairs

IDENTITY = {"model": "tiny", "weights_sha256": "ab" * 32, "dtype": "float32", "prepend_bos": False}


@pytest.fixture
def acts(tmp_path: Path) -> probes.Activations:
    """Three layers of random activations of eight statements."""
    file = tmp_path / "facts.csv"
    file.write_text("statement,label\n" + "".join(f"Statement {i} is a fact.,{i % 2}\n" for i in range(8)))
    data = probes.read_statements(file)
    values = torch.randn(1, 3, 8, 5, generator=torch.Generator().manual_seed(0))
    return probes.Activations(data, (0, 1, 2), ("last",), values, torch.full((8,), 6), dict(IDENTITY))


def fitted() -> list[Any]:
    X, y, _ = planted(n=60, d=6)
    pairs = planted_pairs(n=20, d=6)
    tokens = np.random.default_rng(0).normal(size=(60, 3, 6))
    named = np.where(y == 1, "yes", "no")
    return [
        probes.LogisticRegression(C=0.5).fit(X, y),
        probes.MassMean(covariance="shrunk").fit(X, named),
        probes.LDA(shrinkage=0.3).fit(X, y),
        probes.Ridge(alpha=2.0).fit(X, y.astype(bool)),
        probes.CCS(restarts=3, steps=5).fit(pairs[0], pairs[1], pairs=pairs[2], polarity=pairs[3]),
        probes.CRC().fit(pairs[0], pairs=pairs[2], polarity=pairs[3]),
        probes.TTPD().fit(pairs[0], pairs[1], polarity=pairs[3]),
        probes.SAPLMA(epochs=1).fit(X, y),
        probes.AttentionPooled(steps=3).fit(tokens, y),
    ]


@pytest.mark.parametrize("index", range(9))
def test_loaded_is_saved(index: int, tmp_path: Path) -> None:
    probe = fitted()[index]
    loaded = probes.load(probe.save(tmp_path / "probe"))
    X = np.random.default_rng(1).normal(size=(10, 3, 6) if isinstance(probe, probes.AttentionPooled) else (10, 6))
    assert type(loaded) is type(probe) and loaded.get_params() == probe.get_params() and loaded.origin is None
    np.testing.assert_array_equal(loaded.decision_function(X), probe.decision_function(X))
    np.testing.assert_array_equal(loaded.predict(X), probe.predict(X))
    assert loaded.predict(X).dtype == probe.predict(X).dtype
    assert {f.name for f in (tmp_path / "probe").iterdir()} == {"result.json", "arrays.safetensors"}


def test_origin_travels_with_the_probe(acts: probes.Activations, tmp_path: Path) -> None:
    probe = probes.MassMean().fit(acts.at(1), acts.data.labels)
    loaded = probes.load(probe.save(tmp_path, acts=acts, layer=1, split="v1"))
    origin = loaded.origin
    assert (origin.layer, origin.hook, origin.position) == (1, "blocks.1.hook_resid_post", "last")
    assert origin.identity == IDENTITY and origin.split == "v1"
    assert (origin.data, origin.data_sha256) == (acts.data.name, acts.data.sha256())
    np.testing.assert_array_equal(loaded.apply(acts), probe.decision_function(acts.at(1)))
    again = probes.load(loaded.save(tmp_path / "again"))  # saved without acts, it keeps what it knew
    assert again.origin == origin
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["result"]["provenance"]["versions"]["torch"]


def test_a_probe_is_refused_where_it_does_not_belong(acts: probes.Activations, tmp_path: Path) -> None:
    probe = probes.load(probes.LDA().fit(acts.at(1), acts.data.labels).save(tmp_path, acts=acts, layer=1))
    probe.check(acts, 1)
    with pytest.raises(UsageError, match=r"fitted at layer 1 \(blocks.1.*not at layer 2 .*apply it to layer 1"):
        probe.check(acts, 2)
    for change, message in [
        ({"prepend_bos": True}, "different BOS setting: without BOS and with BOS"),
        ({"weights_sha256": "cd" * 32, "model": "other"}, r"different weights: tiny .* and other"),
        ({"dtype": "bfloat16"}, "different dtype"),
    ]:
        with pytest.raises(UsageError, match=message):
            probe.apply(replace(acts, identity=IDENTITY | change))
    with pytest.raises(UsageError, match='fitted at position "last", not at "mean"'):
        probe.apply(replace(acts, positions=("mean",)))
    with pytest.raises(UsageError, match="Layer 1 was not collected"):
        probe.apply(replace(acts, layers=(0, 3, 4)))
    with pytest.raises(UsageError, match="does not know the activations of its fit"):
        probes.LDA().fit(acts.at(1), acts.data.labels).apply(acts)


def test_what_cannot_be_saved(acts: probes.Activations, tmp_path: Path) -> None:
    probe = probes.Ridge().fit(acts.at(1), acts.data.labels)
    with pytest.raises(UsageError, match="Give the layer of acts"):
        probe.save(tmp_path / "a", acts=acts)
    with pytest.raises(UsageError, match="Layer 7 was not collected"):
        probe.save(tmp_path / "a", acts=acts, layer=7)
    with pytest.raises(ValueError, match="not fitted yet"):
        probes.Ridge().save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_cannot_be_loaded(acts: probes.Activations, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        probes.load(tmp_path / "nothing")
    folder = probes.Ridge().fit(acts.at(1), acts.data.labels).save(tmp_path / "probe")
    file = folder / "result.json"
    file.write_text(file.read_text().replace('"Ridge"', '"Popen"'))
    with pytest.raises(DamagedFileError, match="altered"):
        probes.load(folder)
    acts.data.save(tmp_path / "statements")
    with pytest.raises(UsageError, match="not a SavedProbe"):
        probes.load(tmp_path / "statements")
    from probes.estimators.persistence import SavedProbe

    saved = SavedProbe.load(probes.Ridge().fit(acts.at(1), acts.data.labels).save(tmp_path / "other"))
    replace(saved, kind="Popen").save(tmp_path / "other")
    with pytest.raises(DamagedFileError, match="contains a Popen, which is not a probe"):
        probes.load(tmp_path / "other")
