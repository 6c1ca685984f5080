"""Layer l is the output of block l in every table, and what was saved with other numbers is renumbered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import probes
from analyses import truth
from interp import results
from interp.errors import DamagedFileError, UsageError
from probes.estimators.persistence import Origin
from probes.layers import Layered, hook_of, read_layer, read_layers
from probes.protocol.transfer_results import LeftOut
from tests import models
from tests.probes.protocol.planted import IDENTITY, activations, statements


def test_a_layer_is_its_block():
    """Against the model's own run: the numbers are those of the hooks."""
    model = models.load("llama", text=True)
    data = probes.read_statements(
        [{"statement": f"the tower is in {word}", "label": i} for i, word in enumerate(("Paris", "London"))]
    )
    acts = probes.collect(model, data)
    assert acts.layers == (-1, 0, 1, 2)
    _, cache = model.run_with_cache(model.to_tokens(data.statements[0]), [hook_of(layer) for layer in acts.layers])
    for layer in acts.layers:
        assert torch.allclose(acts.at(layer)[0], cache[acts.hook(layer)][0, -1], atol=1e-5)
    assert [acts.hook(layer) for layer in (0, 2)] == ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    assert torch.equal(acts.at("embed"), acts.at(-1))


def test_what_names_a_layer():
    assert read_layers("all", 3) == (-1, 0, 1, 2)
    assert read_layers(["embed", np.int64(1), 1], 3) == (-1, 1)
    assert read_layers(range(2), 3) == (0, 1)
    for wrong in (3, -2, 1.0, True, None, "last"):
        with pytest.raises(UsageError, match="does not exist: layers are numbered from 0 to 2"):
            read_layer(wrong, 3)
    with pytest.raises(UsageError, match="is empty"):
        read_layers([], 3)


def test_results_saved_with_other_numbers_are_renumbered(tmp_path, monkeypatch):
    """In their files layer 0 was the embedding and layer l the output of block l - 1."""
    result = probes.sweep(activations(statements(60)), probe=probes.MassMean(), controls=False)
    carried = LeftOut("set", ("a",), "MassMean", np.array([2]), "last", *[np.zeros((1, 3))] * 3, *[np.ones(1)] * 3, 0)
    saved = {
        "sweep": result,
        "left": carried,
        "origin": Origin(IDENTITY, "blocks.1.hook_resid_post", 2, "last", "d", "0"),
        "config": truth.Config(layers=(0, 14)),
    }
    with monkeypatch.context() as old:
        old.setattr(Layered, "layout", 1)
        for name, one in saved.items():
            one.save(tmp_path / name)
    again = {name: results.load(tmp_path / name) for name in saved}
    assert again["sweep"].layers == tuple(layer - 1 for layer in result.layers)
    assert again["sweep"].best.layer == result.best.layer - 1
    assert again["sweep"].oracle.layer == result.oracle.layer - 1
    assert again["left"].layers.tolist() == [1]
    assert hook_of(again["origin"].layer) == again["origin"].hook
    assert again["config"].layers == (-1, 13)
    result.save(tmp_path / "new")
    assert results.load(tmp_path / "new") == result


def test_a_result_of_a_later_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(Layered, "layout", 3)
        truth.Config().save(tmp_path)
    with pytest.raises(DamagedFileError, match="Config has layout 3, and this version reads layout 2"):
        results.load(tmp_path)


def test_activations_saved_with_other_numbers_are_renumbered(tmp_path, monkeypatch):
    acts = activations(statements(4))
    with monkeypatch.context() as old:
        old.setattr("probes.activations.FORMAT", 1)
        acts.save(tmp_path / "old")
    assert probes.Activations.load(tmp_path / "old").layers == tuple(layer - 1 for layer in acts.layers)
    acts.save(tmp_path / "new")
    assert probes.Activations.load(tmp_path / "new").layers == acts.layers
    monkeypatch.setattr("probes.activations.FORMAT", 3)
    acts.save(tmp_path / "later")
    monkeypatch.undo()
    with pytest.raises(DamagedFileError, match="format 3 is unknown to this version"):
        probes.Activations.load(tmp_path / "later")
