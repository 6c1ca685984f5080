"""Observed models: any causal `transformers` model, with streams located by structure.

Three short runs say where things are. The blocks are the children of one module that hand the residual stream on, each
taking what the one before it gave. In a block, attention and MLP are the two modules whose outputs add up:

    stream after = stream before + attention + MLP

and attention is the one that mixes positions. What does not add up is not offered as a hook; a model whose blocks
cannot be located, or in which an earlier position sees a later one, is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import UnsupportedModelError, UsageError
from interp.model.hooks import Place

N_ROW, N_TOKEN = 2, 5
CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
DEFAULT_CONTEXT = 2048
"""Longest input of a model whose configuration states none."""
PLAIN = (nn.Linear, nn.Embedding)
"""Modules whose weights families read as all that they compute with."""
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Relative error of a sum of three streams that is rounding."""
NEEDS = "freeze, contrast, path_tree, circuits, discovery, lenses and folded weights"


@dataclass(frozen=True)
class ObservedSpec:
    """Facts of an observed model; any other fact of `Spec` raises `UnsupportedModelError`."""

    family: str
    n_layer: int
    d_model: int
    d_vocab: int
    n_ctx: int
    n_head: int
    n_kv_head: int
    d_head: int
    prepends_bos: bool | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_exact(self.family)


def not_exact(family: str) -> UnsupportedModelError:
    """Return the error for uses that need an exact family's arithmetic."""
    return UnsupportedModelError(
        f'"{family}" is an observed model: it runs, caches, probes, trains dictionaries, is edited and generates, but '
        f"its arithmetic is not written out here, which {NEEDS} need; they take an exact family (see docs/models.md)."
    )


@dataclass(frozen=True)
class Structure:
    """Modules that carry the streams of an observed model.

    With how each returns its tensor.
    """

    family: str
    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    pieces: dict[str, str] = field(default_factory=dict)
    """Path inside a block of "attn" and "mlp"; empty where no two modules add up."""
    reason: str = ""
    """Why `pieces` is empty."""
    d_model: int = 0
    d_vocab: int = 0
    flat: frozenset[str] = frozenset()
    """Pieces whose module has rows and positions as one axis."""
    block_tuples: bool = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_exact(self.family)

    def places(self) -> dict[str, Place]:
        """Return the hook points, in the order of a run."""
        stream = ("batch", "n_token", self.d_model)
        result = {"hook_embed": Place(self.embed, "output", stream)}
        for layer, block in enumerate(self.blocks):
            prefix = f"blocks.{layer}."
            result[f"{prefix}hook_resid_pre"] = Place(block, "input", stream, layer)
            for name, path in self.pieces.items():
                module = block.get_submodule(path)
                result[f"{prefix}hook_{name}_out"] = Place(module, "output", stream, layer, flat=name in self.flat)
            result[f"{prefix}hook_resid_post"] = Place(block, "output", stream, layer)
        return result


@torch.no_grad()
def find(hf: Any) -> Structure:
    """Locate the streams of a model by running it.

    Raises `UnsupportedModelError` for a model that is not causal, or whose blocks cannot be located.
    """
    device = input_device(hf)
    d_vocab = _vocabulary(hf, device)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(min(10, d_vocab // 2), d_vocab, (N_ROW, N_TOKEN), generator=generator).to(device)
    first, last = tokens.clone(), tokens.clone()
    first[:, 0] = last[:, -1] = 0
    plain = _run(hf, tokens)
    _check_causal(hf, plain.logits, call(hf, last))
    container, blocks = _blocks(hf, plain)
    d_model = plain.outputs[blocks[0]].shape[-1]
    result = Structure(
        family=family_name(hf),
        embed=_embedding(hf, d_vocab),
        blocks=tuple(blocks),
        d_model=d_model,
        d_vocab=d_vocab,
        block_tuples=plain.tuples[blocks[0]],
    )
    pieces, reason = _pieces(blocks, plain, _run(hf, first))
    if reason:
        return replace(result, reason=f"{reason} (in {container or type(hf).__name__})")
    flat = {name for name, path in pieces.items() if plain.flat[blocks[0].get_submodule(path)]}
    return replace(result, pieces=pieces, flat=frozenset(flat))


def logits(hf: Any, tokens: Tensor, attention_mask: Tensor | None, positions: Tensor | None) -> Tensor:
    """Return the logits of all positions, or of some."""
    result = call(hf, tokens, attention_mask=attention_mask)
    return result if positions is None else result[:, positions]


def call(hf: Any, tokens: Tensor, **options: Any) -> Tensor:
    """Return the logits of a run with the options that the model takes."""
    return run(hf, tokens, **options).logits


def run(hf: Any, tokens: Tensor, **options: Any) -> Any:
    """Return a model's own output.

    Only the options that its forward takes are passed on.

    Raises `UsageError` for a mask that it does not take.
    """
    taken = inspect.signature(type(hf).forward).parameters
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    options = {"use_cache": False} | options
    known = {name: value for name, value in options.items() if value is not None and (anything or name in taken)}
    if options.get("attention_mask") is not None and "attention_mask" not in known:
        raise UnsupportedModelError(f"{type(hf).__name__} takes no attention mask: give texts of one length.")
    return hf(input_ids=tokens, **known)


def input_device(hf: Any) -> torch.device:
    """Return the device of a model's inputs: that of its first parameter in memory."""
    devices = (value.device for value in hf.parameters())
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


@dataclass
class _Record:
    """Inputs and outputs of the modules of one run, in order.

    Each is (row, position, d_model).
    """

    inputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    outputs: dict[nn.Module, Tensor] = field(default_factory=dict)
    flat: dict[nn.Module, bool] = field(default_factory=dict)
    tuples: dict[nn.Module, bool] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def keep(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Record a module that has run."""
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        gave = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(gave, Tensor) or not gave.is_floating_point():
            return
        flat = gave.ndim == 2 and gave.shape[0] == N_ROW * N_TOKEN
        if not flat and gave.shape[:-1] != (N_ROW, N_TOKEN):
            return
        self.flat[module], self.tuples[module] = flat, isinstance(output, tuple)
        self.outputs[module] = gave.reshape(N_ROW, N_TOKEN, -1).double().cpu().clone()
        if given is not None and given.numel() == self.outputs[module].numel():
            self.inputs[module] = given.reshape(N_ROW, N_TOKEN, -1).double().cpu().clone()


def _run(hf: Any, tokens: Tensor) -> _Record:
    record = _Record()
    with _watched(hf, record):
        record.logits = call(hf, tokens)
    return record


@contextmanager
def _watched(hf: Any, record: _Record) -> Iterator[None]:
    handles = [module.register_forward_hook(record.keep, with_kwargs=True) for module in hf.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _vocabulary(hf: Any, device: torch.device) -> int:
    """Return a model's vocabulary size, from a run on one token.

    Raises `UnsupportedModelError` if it does not run on ids alone.
    """
    try:
        result = run(hf, torch.zeros(1, 1, dtype=torch.long, device=device))
    except Exception as error:  # a foreign model may raise anything
        raise UnsupportedModelError(
            f"{type(hf).__name__} does not run on token ids alone ({error}): only causal models can be observed."
        ) from error
    if not isinstance(getattr(result, "logits", None), Tensor):
        raise UsageError(f"{type(hf).__name__} has no unembedding: load it with AutoModelForCausalLM.")
    return result.logits.shape[-1]


def _check_causal(hf: Any, logits: Tensor, changed: Tensor) -> None:
    """Raise `UnsupportedModelError` if earlier logits changed with the last token."""
    gap = float((logits - changed)[:, :-1].abs().max())
    if not gap <= tolerance(hf) * float(logits.abs().max()):
        raise UnsupportedModelError(
            f"{type(hf).__name__} is not causal: the last token changes the logits of earlier positions by {gap:.2g}."
        )


def tolerance(hf: Any) -> float:
    """Return the relative error due to rounding in a model's number format.

    For quantised weights it is that of bfloat16.
    """
    dtypes = {value.dtype for value in hf.parameters() if value.is_floating_point()}
    kinds = [TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16]) for dtype in dtypes]
    return max(kinds, default=TOLERANCE[torch.bfloat16])


def _blocks(hf: Any, record: _Record) -> tuple[str, list[nn.Module]]:
    """Return the name of the blocks' parent, and the blocks.

    They are the longest chain that passes the stream on.

    The chain is of children of one class.
    """
    best: tuple[str, list[nn.Module]] = ("", [])
    for name, parent in hf.named_modules():
        streams = [child for child in parent.children() if child in record.inputs]
        for _, same in groupby(streams, key=type):
            chain = list(same)
            if len(chain) > len(best[1]) and _handed_on(chain, record) and _adds(chain, record):
                best = (name, chain)
    if not best[1]:
        raise UnsupportedModelError(
            f"The blocks of {type(hf).__name__} cannot be located: no modules of one class pass on a residual stream "
            "(batch, n_token, d_model), each taking what the one before it gave. Nothing about it can be read safely."
        )
    return best


def _handed_on(chain: list[nn.Module], record: _Record) -> bool:
    return all(torch.equal(record.outputs[one], record.inputs[two]) for one, two in pairwise(chain))


def _adds(chain: list[nn.Module], record: _Record) -> bool:
    """Return whether modules have children and add to their input.

    A stack of plain layers is not a residual stream.
    """
    cosines = (torch.cosine_similarity(record.inputs[one], record.outputs[one], dim=-1).mean() for one in chain)
    return all(any(True for _ in one.children()) for one in chain) and all(float(cosine) > 0 for cosine in cosines)


def _pieces(blocks: list[nn.Module], plain: _Record, first: _Record) -> tuple[dict[str, str], str]:
    """Return the paths of attention and MLP inside a block.

    The second value is the reason where there are none.
    """
    block = blocks[0]
    order = {module: at for at, module in enumerate(plain.outputs)}
    inside = [(path, module) for path, module in block.named_modules() if path and module in plain.outputs]
    inside = [(path, module) for path, module in inside if plain.outputs[module].shape == plain.outputs[block].shape]
    fitting = [pair for pair in combinations(inside, 2) if _sum_error(block, [one for _, one in pair], plain) < 1]
    if not fitting:
        return {}, "no two modules of the first block add up to what it adds to the stream"
    pair = min(fitting, key=lambda pair: sum(path.count(".") for path, _ in pair))
    early, late = sorted(pair, key=lambda one: order[one[1]])
    mixing = [one for one in (early, late) if _mixes(one[1], plain, first)]
    if not mixing:
        return (
            {},
            f"neither {early[0]} nor {late[0]} mixes positions, so that attention and MLP cannot be distinguished",
        )
    attention, mlp = (early, late) if mixing[0] == early else (late, early)
    pieces = {"attn": attention[0], "mlp": mlp[0]}
    for layer, other in enumerate(blocks):
        try:
            error = _sum_error(other, [other.get_submodule(path) for path in pieces.values()], plain)
        except (AttributeError, KeyError):
            error = float("inf")
        if not error < 1:
            return {}, f"{' and '.join(pieces.values())} do not add up to what block {layer} adds to the stream"
    return pieces, ""


def _sum_error(block: nn.Module, pieces: list[nn.Module], record: _Record) -> float:
    """Return the error of the sum of streams, in tolerances of rounding."""
    total = record.inputs[block] + sum(record.outputs[piece] for piece in pieces)
    gap, size = (total - record.outputs[block]).abs().max(), record.outputs[block].abs().max()
    return float(gap / size) / tolerance(block)


def _mixes(module: nn.Module, plain: _Record, first: _Record) -> bool:
    """Return whether a module mixes positions.

    It does if its output after the first position depends on the first token.

    Tested in the first block.
    """
    return not torch.equal(plain.outputs[module][:, 1:], first.outputs[module][:, 1:])


def family_name(hf: Any) -> str:
    """Return the name of a model's kind.

    It is the model type of its configuration, or its class; a model with adapters is another kind than without.
    """
    name = getattr(hf.config, "model_type", "") or type(hf).__name__
    return f"{name} with adapters" if adapter(hf) else name


def adapter(hf: nn.Module) -> str:
    """Return the path of the first module with an adapter.

    It is empty without one.

    That is a layer of peft, or a linear map or embedding whose `forward` is not that of torch or `transformers`: its
    `weight` is not all that it computes with.
    """
    return next((path for path, module in hf.named_modules() if _is_adapted(type(module))), "")


def _is_adapted(kind: type[nn.Module]) -> bool:
    if any(one.__module__.partition(".")[0] == "peft" for one in kind.__mro__):
        return True
    defined_in = next(one.__module__.partition(".")[0] for one in kind.__mro__ if "forward" in vars(one))
    return issubclass(kind, PLAIN) and defined_in not in ("torch", "transformers")


def _embedding(hf: Any, d_vocab: int) -> nn.Module:
    """Return the token embedding module.

    It is given by its accessor, or is the first table with a row a token.
    """
    try:
        result = hf.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        result = None
    tables = (one for one in hf.modules() if isinstance(one, nn.Embedding) and one.num_embeddings >= d_vocab)
    result = next(tables, None) if result is None else result
    if result is None:
        raise UnsupportedModelError(f"The token embedding of {type(hf).__name__} cannot be located.")
    return result


def facts(hf: Any, structure: Structure) -> ObservedSpec:
    """Return the facts of an observed model.

    They come from its runs and its configuration.

    The configuration gives heads and the longest input.
    """
    config = hf.config
    n_head = getattr(config, "num_attention_heads", None) or 1
    n_ctx = next((length for name in CONTEXTS if (length := getattr(config, name, None))), DEFAULT_CONTEXT)
    return ObservedSpec(
        family=structure.family,
        n_layer=len(structure.blocks),
        d_model=structure.d_model,
        d_vocab=structure.d_vocab,
        n_ctx=int(n_ctx),
        n_head=n_head,
        n_kv_head=getattr(config, "num_key_value_heads", None) or n_head,
        d_head=getattr(config, "head_dim", None) or max(1, structure.d_model // n_head),
    )
