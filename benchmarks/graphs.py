"""Attribution graphs compared with circuit-tracer: effects, pruned graphs, and time.

    pip install --no-deps --target /path/to/peers circuit-tracer==0.5.0
    PYTHONPATH=/path/to/peers python benchmarks/graphs.py [--cross-layer]

A random Llama with random transcoders of the same weights, on the CPU, in one process, in float32 and once more in
float64, which shows whose rounding it is where the two differ. circuit-tracer leaves position 0 out (`first=1`) and
drops its errors.
"""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace

import numpy as np
import torch
import transformers

import interp
from interp import attribution
from interp.attribution.graphs import influence
from interp.attribution.graphs.build import adjacency, likely

D_MODEL, D_VOCAB, N_HEAD, D_HEAD = 48, 96, 4, 12


def main() -> None:
    """Print the largest deviations, what both retain, and how long each took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    text = "one cross-layer transcoder in the place of one transcoder a layer"
    parser.add_argument("--cross-layer", action="store_true", help=text)
    args = parser.parse_args()
    matrices = {}
    for dtype in (torch.float32, torch.float64):
        print(f"-- {str(dtype).removeprefix('torch.')}")
        matrices[dtype] = both(args, dtype)
    print("-- largest relative deviation from float64 (ours) of effects above 1e-3 of the largest")
    exact = matrices[torch.float64][0]
    for name, values in zip(("ours", "circuit-tracer"), matrices[torch.float32], strict=True):
        print(f"{name} in float32: {worst(values, exact):.1e}")
    print(f"circuit-tracer in float64: {worst(matrices[torch.float64][1], exact):.1e}")


def both(args: argparse.Namespace, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Trace one graph with both in one dtype; return both matrices of effects."""
    torch.manual_seed(args.seed)
    hf = random_llama(args.layers).to(dtype)
    dictionaries = [random_transcoder(args, layer, dtype) for layer in range(args.layers)]
    tokens = torch.randint(0, D_VOCAB, (args.tokens,))
    theirs, seconds_theirs = circuit_tracer(hf, dictionaries, tokens, dtype)
    model = interp.load(hf)
    start = time.process_time()
    frozen = attribution.freeze(model, tokens)
    named = {f"blocks.{i}.mlp.hook_in": each for i, each in enumerate(dictionaries)}
    mixed = attribution.features(frozen, named, first=1)
    targets = likely(mixed, 0.95, 10)
    chances = frozen.logits_at(-1).double().softmax(-1)
    weights = np.array([float(chances[target.tokens[0]]) for target in targets])
    ours = adjacency(mixed, targets, weights, 10**6)
    seconds_ours = time.process_time() - start
    matrices = compare(ours, theirs, weights, args)
    print(f"processor seconds a graph: ours {seconds_ours:.2f}, circuit-tracer {seconds_theirs:.2f}")
    return matrices


def worst(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest deviation relative to an effect.

    Effects are those above a thousandth of the largest.
    """
    big = np.abs(reference) > 1e-3 * np.abs(reference).max()
    return float((np.abs(values - reference)[big] / np.abs(reference)[big]).max())


def random_llama(n_layer: int):
    """Return a Llama with random parameters."""
    config = transformers.LlamaConfig(
        vocab_size=D_VOCAB,
        hidden_size=D_MODEL,
        intermediate_size=96,
        num_hidden_layers=n_layer,
        num_attention_heads=N_HEAD,
        num_key_value_heads=2,
        head_dim=D_HEAD,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    hf = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, value in hf.named_parameters():
            value.normal_()
            if value.ndim == 2:
                value.mul_(1.0 if "embed" in name else 1.5 * value.shape[-1] ** -0.5)
            else:
                value.mul_(0.3).add_(1.0)
    return hf


def random_transcoder(args: argparse.Namespace, layer: int, dtype: torch.dtype) -> SimpleNamespace:
    """Return ReLU of random directions, a quarter of them active.

    With `--cross-layer`, there are decoders for later layers too.
    """
    generator = torch.Generator().manual_seed(1000 + args.seed + layer)
    n_written, width = args.layers - layer if args.cross_layer else 1, args.width

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    W_enc, b_enc = draw(D_MODEL, width) * D_MODEL**-0.5, draw(width) * 0.1 - 0.7
    W_dec, b_dec = draw(width, n_written * D_MODEL) * 0.1, draw(n_written * D_MODEL) * 0.1
    b_dec[D_MODEL:] = 0  # theirs has one bias for each layer written
    return SimpleNamespace(
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=b_enc,
        b_dec=b_dec,
        encode=lambda x: (x @ W_enc + b_enc).relu(),
        writes=tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, layer + n_written)),
    )


def their_transcoders(dictionaries, dtype: torch.dtype):
    """Return the same weights as circuit-tracer's set, or its cross-layer transcoder."""
    from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet

    n, width, device = len(dictionaries), dictionaries[0].W_enc.shape[1], torch.device("cpu")
    hooks = "mlp.hook_in", "hook_mlp_out"
    if len(dictionaries[0].writes) > 1:
        wide = CrossLayerTranscoder(n, width, D_MODEL, "relu", False, False, False, *hooks, device=device, dtype=dtype)
        with torch.no_grad():
            for layer, each in enumerate(dictionaries):
                wide.W_enc[layer], wide.b_enc[layer] = each.W_enc.T, each.b_enc
                wide.W_dec[layer].copy_(each.W_dec.unflatten(1, (-1, D_MODEL)))
                wide.b_dec[layer] = each.b_dec[:D_MODEL]
        return wide
    made = {}
    for layer, each in enumerate(dictionaries):
        made[layer] = SingleLayerTranscoder(D_MODEL, width, torch.relu, layer, device=device, dtype=dtype)
        with torch.no_grad():
            made[layer].W_enc.copy_(each.W_enc.T)
            made[layer].W_dec.copy_(each.W_dec)
            made[layer].b_enc.copy_(each.b_enc)
            made[layer].b_dec.copy_(each.b_dec)
    return TranscoderSet(made, *hooks)


def circuit_tracer(hf, dictionaries, tokens: torch.Tensor, dtype: torch.dtype):
    """Return its graph of the same model, and its processor seconds."""
    from huggingface_hub import constants

    if not hasattr(constants, "HF_HUB_ENABLE_HF_TRANSFER"):
        constants.HF_HUB_ENABLE_HF_TRANSFER = False  # gone in newer versions, and only read by downloads
    from circuit_tracer import attribute
    from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
    from transformer_lens import HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    spec = hf.config
    config = HookedTransformerConfig(
        n_layers=spec.num_hidden_layers,
        d_model=D_MODEL,
        n_ctx=64,
        d_head=D_HEAD,
        n_heads=N_HEAD,
        n_key_value_heads=2,
        d_mlp=96,
        d_vocab=D_VOCAB,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=D_HEAD,
        rotary_base=10000,
        rotary_adjacent_pairs=False,
        gated_mlp=True,
        final_rms=True,
        eps=spec.rms_norm_eps,
        original_architecture="LlamaForCausalLM",
        model_name="random-llama",
        device="cpu",
        dtype=dtype,
        seed=0,
    )
    state = convert_llama_weights(hf, config)
    tokenizer = SimpleNamespace(
        decode=lambda ids, *_, **__: str(ids),
        all_special_ids=[int(tokens[0])],
        vocab_size=D_VOCAB,
        padding_side="right",
        bos_token_id=int(tokens[0]),
        eos_token_id=None,
        pad_token_id=None,
    )
    from transformer_lens import HookedTransformer

    plain = HookedTransformer(config)
    missing = plain.load_state_dict(state, strict=False)
    assert all("mask" in key or "rotary" in key or "IGNORE" in key for key in missing.missing_keys), missing
    model = TransformerLensReplacementModel(config)
    model.load_state_dict(plain.state_dict(), strict=False)
    model._configure_replacement_model(their_transcoders(dictionaries, dtype))
    model.tokenizer = tokenizer
    with torch.no_grad():
        gap = float((model(tokens[None]) - hf(tokens[None]).logits).abs().max())
    print(f"circuit-tracer's model and ours: logits differ by {gap:.1e}")
    start = time.process_time()
    graph = attribute(tokens, model, max_n_logits=10, desired_logit_prob=0.95, batch_size=256)
    return graph, time.process_time() - start


def compare(ours, theirs, weights: np.ndarray, args) -> tuple[np.ndarray, np.ndarray]:
    """Match latents by (layer, position, number) and compare scores and pruned graphs.

    Returns both matrices.
    """
    from circuit_tracer.graph import compute_graph_scores, prune_graph

    sources, n_latent = ours.sources, ours.sources.n_latent
    mine = {
        (int(layer), int(position), int(feature)): i
        for i, (layer, position, feature) in enumerate(
            zip(sources.layer[:n_latent], sources.position[:n_latent], sources.feature[:n_latent], strict=True)
        )
    }
    active = [tuple(row) for row in theirs.active_features[theirs.selected_features].tolist()]
    n_errors, T = args.layers * args.tokens, args.tokens
    place = [mine[key] for key in active]
    keep = [len(active) + layer * T + t for layer in range(args.layers) for t in range(1, T)]
    errors = [n_latent + i for i in range(args.layers * (T - 1))]
    rest = list(range(len(active) + n_errors, len(theirs.adjacency_matrix)))
    order = [*place, *errors, *range(n_latent + len(errors), len(ours.matrix))]
    A = ours.matrix[np.ix_(order, order)]
    columns = [*range(len(active)), *keep, *rest]
    B = theirs.adjacency_matrix.numpy()[np.ix_(columns, columns)]
    assert len(A) == len(B), (len(A), len(B))
    print(f"{len(active)} latents, {len(A)} nodes, {int((B != 0).sum()):,} edges")
    print(f"largest deviation of an effect, relative to the largest: {np.abs(A - B).max() / np.abs(B).max():.1e}")
    print(f"largest relative deviation of effects above 1e-3 of the largest: {worst(A, B):.1e}")
    rows = np.abs(B).sum(1) > 0
    by_row = (np.linalg.norm(A - B, axis=1)[rows] / np.linalg.norm(B, axis=1)[rows]).max()
    print(f"largest deviation of a node's row of effects, relative to the row's length: {by_row:.1e}")
    p = theirs.logit_probabilities.numpy()
    print(f"weights of the targets differ by {np.abs(p - weights).max():.1e}")
    kinds = np.array(["latent"] * len(active) + ["error"] * len(errors) + ["token"] * T + ["target"] * len(weights))
    w = np.zeros(len(A))
    w[-len(weights) :] = weights
    pruned = influence.prune(A, w, np.isin(kinds, ("token", "target")), kinds == "latent", 0.8, 0.98)
    nodes, edges = (x.numpy() for x in prune_graph(theirs, 0.8, 0.98)[:2])
    nodes, edges = nodes[columns], edges[np.ix_(columns, columns)] & (B != 0)
    print(f"at .8 and .98, ours: {pruned.nodes.sum()} nodes, {pruned.edges.sum()} edges")
    print(f"at .8 and .98, theirs: {nodes.sum()} nodes, {edges.sum()} edges")
    print(f"differing nodes {int((pruned.nodes != nodes).sum())}, differing edges {int((pruned.edges != edges).sum())}")
    replacement, completeness = compute_graph_scores(theirs)
    own = (
        influence.replacement(A, w, kinds == "token", kinds == "error"),
        influence.completeness(A, w, kinds == "error"),
    )
    print(f"replacement {own[0]:.6f} and {replacement:.6f}, completeness {own[1]:.6f} and {completeness:.6f}")
    exact = w @ (np.linalg.inv(np.eye(len(A)) - influence.normalised(A)) - np.eye(len(A)))
    gap = np.abs(influence.influence(influence.normalised(A), w) - exact).max()
    print(f"influence against w ((I - A)^-1 - I): {gap:.1e}")
    return A, B


if __name__ == "__main__":
    main()
