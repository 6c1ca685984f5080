"""Runs of token rows with common prefixes: each distinct prefix is computed once.

The prefixes of a set of rows form a tree. It is run depth by depth: one forward pass computes one token of every
prefix of that length, from the keys and values of the prefix it extends. No row is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.model import capture
from interp.model.capture import Cache

if TYPE_CHECKING:
    from interp.model.model import Model


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Distinct prefixes of token rows, by length.

    Attributes:
        ids: for each length from 1, the last token of every distinct prefix of that length.
        parents: for each length, the number of the prefix without that token, among those one token shorter.
        nodes: (row, n_token) the number of each row's prefix, among all; 0 on padding.
    """

    ids: tuple[Int[Tensor, " n_prefix"], ...]
    parents: tuple[Int[Tensor, " n_prefix"], ...]
    nodes: Int[Tensor, "row n_token"]

    @classmethod
    def of(cls, tokens: Int[Tensor, "row n_token"], lengths: Int[Tensor, " row"]) -> Prefixes:
        """Return the prefixes of rows, each of its own length.

        >>> prefixes = Prefixes.of(torch.tensor([[5, 6, 7], [5, 6, 8]]), torch.tensor([3, 3]))
        >>> len(prefixes), prefixes.nodes.tolist()
        (4, [[0, 1, 2], [0, 1, 3]])
        """
        tokens = tokens.long()
        base, total = int(tokens.max()) + 1, 0
        at, nodes = torch.zeros(len(tokens), dtype=torch.long), torch.zeros(tokens.shape, dtype=torch.long)
        ids, parents = [], []
        for t in range(int(lengths.max())):
            rows = (lengths > t).nonzero()[:, 0]
            keys, at[rows] = torch.unique(at[rows] * base + tokens[rows, t], return_inverse=True)
            nodes[rows, t] = at[rows] + total
            ids.append(keys % base)
            parents.append(keys // base)
            total += len(keys)
        return cls(tuple(ids), tuple(parents), nodes)

    def __len__(self) -> int:
        return sum(map(len, self.ids))


def can_share(model: Model, longest: int) -> bool:
    """Return whether rows can reuse keys and values of their prefixes.

    Rows have up to `longest` tokens.

    Not where a run is edited or hooked, for observed models, or where rotations depend on the length of the whole row.
    """
    by_length = any(r is not None and r.fixed_to is not None and r.fixed_to < longest for r in model.spec.rotaries)
    return model.structure is None and not model.edits and not by_length and not capture.bridge_is_hooked(model)


@torch.no_grad()
def run_prefixes(
    model: Model, prefixes: Prefixes, names: tuple[str, ...], *, log_probs: bool = False
) -> tuple[Cache, Float[Tensor, " n_prefix"] | None]:
    """Compute activations for every prefix, and optionally log-probabilities.

    The log-probability of a prefix is that of its last token.

    Args:
        model: one that `can_share`.
        prefixes: what is computed.
        names: hooks with one vector a position, such as "blocks.3.hook_resid_post".
        log_probs: go on to the logits; otherwise the run ends with the last hook.

    Returns:
        The activations by hook, each (n_prefix, d), and the log-probabilities in nats of each last token given those
        before it (0 for prefixes of one token); None unless asked for.
    """
    from transformers import DynamicCache

    past = DynamicCache(config=model.hf.config)
    final = f"blocks.{model.spec.n_layer - 1}.hook_resid_post"
    asked = tuple(dict.fromkeys((*names, final))) if log_probs else names
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    likelihoods, stream = [], None
    for last, before in zip(prefixes.ids, prefixes.parents, strict=True):
        ids, parents = last.to(model.device), before.to(model.device)
        past.batch_select_indices(parents)
        result, _ = capture.run(model, ids[:, None], asked, logits=False, past=past)
        if log_probs:
            likelihoods.append(_log_probs(model, stream, ids, parents))
            stream = result[final][:, 0]
        for name in names:
            parts[name].append(result[name][:, 0])
    return Cache({name: torch.cat(parts.pop(name)) for name in names}), torch.cat(likelihoods) if log_probs else None


def _log_probs(
    model: Model, stream: Float[Tensor, "n_parent d_model"] | None, ids: Tensor, parents: Int[Tensor, " n_prefix"]
) -> Float[Tensor, " n_prefix"]:
    """Return log p(id | parent) for every prefix.

    It is computed from the final residual streams of the parent prefixes, which are one token shorter. Those that no
    prefix extends are not unembedded.
    """
    result = torch.zeros(len(ids), device=ids.device)
    if stream is None:
        return result
    extended, parents = parents.unique(return_inverse=True)
    rows = capture.unembedded_rows(model)
    for first in range(0, len(extended), rows):
        logits = capture.unembedded(model, stream[extended[first : first + rows]]).float()
        at = ((parents >= first) & (parents < first + rows)).nonzero()[:, 0]
        parent = parents[at] - first
        result[at] = logits[parent, ids[at]] - logits.logsumexp(-1)[parent]
    return result
