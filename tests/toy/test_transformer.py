"""Small transformers: causal, additive, every weight an edge that can be cut, every instance by itself."""

import torch

from interp.toy.transformer import Ablation, Shape, run_transformer, transformer, transformer_wires

SHAPE = Shape(inputs=5, outputs=3, length=6, width=8, heads=2, mlp=12, layers=2)


def tokens(count=16, seed=0):
    return torch.randint(5, (count, 6), generator=torch.Generator().manual_seed(seed))


def means(weights, x):
    reads = {}
    run_transformer(weights, x, SHAPE, reads=reads)
    return {name: read.mean(1) for name, read in reads.items()}


def test_later_tokens_change_no_earlier_output():
    weights, x = transformer(SHAPE, (0, 1)), tokens()
    changed = x.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 5
    before, after = (run_transformer(weights, t, SHAPE) for t in (x, changed))
    # The sums of a row do not depend on later keys; only the order of vectorised sums may.
    assert torch.allclose(before[:, :, :4], after[:, :, :4], atol=1e-6)
    assert not torch.allclose(before[:, :, 4], after[:, :, 4], atol=1e-3)


def test_all_edges_are_the_network_and_no_edges_know_nothing_of_the_input():
    weights, x = transformer(SHAPE, (0, 1)), tokens()
    matrices = {name: weights[name] for name in means(weights, x)}
    assert set(matrices) == {name for name, w in weights.items() if w.ndim > 2} - {"position"}
    whole = run_transformer(weights, x, SHAPE)
    nothing_removed = Ablation({name: torch.ones_like(w) for name, w in matrices.items()}, means(weights, x))
    assert torch.allclose(run_transformer(weights, x, SHAPE, ablation=nothing_removed), whole, atol=1e-5)
    # Cutting weights that are zero changes nothing.
    thinned = {name: w * (w > 0) for name, w in weights.items()}
    there = Ablation({name: (thinned[name] != 0).float() for name in matrices}, means(thinned, x))
    same = run_transformer(thinned, x, SHAPE, ablation=there)
    assert torch.allclose(same, run_transformer(thinned, x, SHAPE), atol=1e-5)
    cut = Ablation({name: torch.zeros_like(w) for name, w in matrices.items()}, means(weights, x))
    nothing = run_transformer(weights, x, SHAPE, ablation=cut)
    assert torch.allclose(nothing, nothing[:, :1].expand_as(nothing), atol=1e-6)
    # With its unembedding alone cut, a network answers its own mean.
    last = Ablation({"unembed": torch.zeros_like(weights["unembed"])}, means(weights, x))
    assert torch.allclose(run_transformer(weights, x, SHAPE, ablation=last)[:, 0], whole.mean(1), atol=1e-5)


def test_heads_write_what_their_output_map_writes():
    weights, x = transformer(SHAPE, (0, 1)), tokens()
    reads, writes = {}, {}
    run_transformer(weights, x, SHAPE, reads=reads, writes=writes)
    whole = torch.einsum("ibtk,iwk->ibtw", reads["1.o"], weights["1.o"])
    assert torch.allclose(writes["1.heads"].sum(3), whole, atol=1e-5)


def test_an_instance_runs_alone_as_among_others():
    x = tokens()
    both = run_transformer(transformer(SHAPE, (0, 7)), x, SHAPE)
    assert torch.allclose(both[1:], run_transformer(transformer(SHAPE, (7,)), x, SHAPE), atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_wires_join_layers_of_fitting_sizes():
    weights, sizes = transformer(SHAPE, (0,)), {}
    for wire in transformer_wires(SHAPE):
        for layer, size in ((wire.target, weights[wire.name].shape[1]), (wire.source, weights[wire.name].shape[2])):
            assert sizes.setdefault(layer, size) == size
    assert sizes["residual"] == 8
    assert sizes["0.mlp"] == 12


def test_vectors_are_taken_as_well_as_tokens():
    shape = Shape(inputs=3, outputs=1, length=4, width=8, heads=2, mlp=0, tokens=False)
    assert run_transformer(transformer(shape, (0, 1)), torch.randn(1, 5, 4, 3), shape).shape == (2, 5, 4, 1)
