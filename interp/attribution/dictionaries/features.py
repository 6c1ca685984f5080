"""`features(frozen_or_contrast, dictionaries)`: the linear map with sparse latents and their errors inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.contrast import Contrast
from interp.attribution.dictionaries.layout import FeatureLayout
from interp.attribution.dictionaries.neurons import neuron_site
from interp.attribution.dictionaries.protocol import Dictionary, Place, affine, places_of
from interp.attribution.dictionaries.site import Site, contrast_site, frozen_site, joined, spread
from interp.attribution.edited_run import refuse_edits
from interp.attribution.frozen import Frozen
from interp.attribution.linearised import Linear, NodeKind, Targets, check_linearised
from interp.errors import UnsupportedModelError, UsageError, whole
from interp.model import Model

if TYPE_CHECKING:
    from interp.attribution.expand import Expander


@dataclass(frozen=True)
class Features:
    """Linearised input whose MLPs, attention or streams are decomposed by dictionaries.

    The input is frozen, or a contrast. Made by `features`.

    Attributes:
        base: the input without dictionaries. Totals, and what enters by token or order, are the same.
        dictionaries: those that were given.
        layout: the components, among them latents, errors, biases and skip paths.
        writes: what each writes at each position, or by how much that differs.
        first: the dictionaries are used from this position on.

    >>> frozen = attribution.freeze(model, tokens)
    >>> mixed = attribution.features(frozen, 4)  # the 4 largest neurons of each MLP; or dictionaries by hook
    >>> len(mixed.layout.names), mixed.layout.names[5:9]
    (34, ('L0.b_O', 'MLP0.f0', 'MLP0.f1', 'MLP0.f2'))
    """

    base: Frozen | Contrast
    dictionaries: Mapping[str, Dictionary] | int
    layout: FeatureLayout
    writes: Float[Tensor, "n_component n_token d_model"]
    first: int = 0

    @property
    def sites(self) -> tuple[Site, ...]:
        """The dictionaries at this input, in the order of a run."""
        return self.layout.sites

    @property
    def model(self) -> Model:
        """The model."""
        return self.base.model

    @property
    def tokens(self) -> Int[Tensor, "*run n_token"]:
        """The token ids."""
        return self.base.tokens

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each position."""
        return self.base.labels

    def logits_at(self, position: int) -> Float[Tensor, "*run d_vocab"]:
        """Return the model's own logits at one position.

        >>> mixed.logits_at(-1).shape
        torch.Size([64])
        """
        return self.base.logits_at(position)

    @property
    def n_token(self) -> int:
        """Number of positions."""
        return self.base.n_token

    @property
    def tolerance(self) -> float:
        """Relative error above which a decomposition raises."""
        return self.base.tolerance

    @property
    def blocks(self) -> Any:
        """Frozen values of each block, or its secants."""
        return self.base.blocks

    @property
    def pull(self) -> Any:
        """The transposes of the model's own components."""
        return self.base.pull

    def position(self, position: int) -> int:
        """Return a position counted from the start; raise `UsageError` outside the input.

        >>> mixed.position(-1)
        3
        """
        return self.base.position(position)

    def linear(self, target: Targets) -> Linear:
        """Return the target as a linear function of the stream it reads.

        >>> mixed.linear(attribution.logit(model, " Paris")).value
        0.596
        """
        whole_target = self.base.linear(target)
        return replace(whole_target, visible=self.layout.block_part(whole_target.visible))

    def score_pairs(self, layer: int, head: int, query: int, key: int) -> tuple[Tensor, float, float]:
        """Split an attention score over all pairs of writers.

        Args:
            layer: the layer of the head.
            head: the head.
            query: the position that attends.
            key: the position attended to.

        Returns:
            (part of the score for each pair of writers, the score, the least scale of its error).

        >>> pairs, value, scale = mixed.score_pairs(1, 0, query=3, key=1)
        >>> pairs.sum().item(), value
        (4.715, 4.715)
        """
        from interp.attribution.dictionaries.scores import score_pairs

        return score_pairs(self, layer, head, query, key)

    def score_writers(self, layer: int, query: int, key: int) -> tuple[str, ...]:
        """Return the names of the writers of an attention score.

        These are active at the query or the key, and write before the layer.

        Args:
            layer: the layer of the scores.
            query: the position that attends.
            key: the position attended to.

        Returns:
            The names, in the order of the pairs of `score_pairs`.

        >>> mixed.score_writers(1, query=3, key=1)[:7]
        ('embed', 'L0H0', 'L0H1', 'L0H2', 'L0H3', 'L0.b_O', 'MLP0.f9')
        """
        from interp.attribution.dictionaries.scores import score_writers

        return score_writers(self, layer, query, key)

    @cached_property
    def ends(self) -> tuple[Features, ...]:
        """Both runs of a contrast with the dictionaries, clean first.

        Empty for a frozen input.
        """
        if isinstance(self.base, Frozen):
            return ()
        return tuple(features(end, self.dictionaries, first=self.first) for end in self.base.ends)

    def expander(self, nodes: NodeKind, linear: Linear) -> Expander:
        """Return the expander of a path tree's nodes.

        >>> expander = mixed.expander("position", mixed.linear(attribution.logit(model, " Paris")))
        >>> type(expander).__name__
        '_ByPosition'
        """
        from interp.attribution.dictionaries.expand import expander

        return expander(self, nodes, linear)

    def original(
        self, site: Site, at: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Tensor, Tensor]:
        """Carry covectors through what a site decomposes.

        An MLP's output bias counts as its constant.

        Args:
            site: the place of a dictionary.
            at: positions.
            covectors: at the site's output.

        Returns:
            (covectors on the site's input, constants (*batch, n)).

        >>> site = mixed.sites[0]
        >>> back, constant = mixed.original(site, slice(None), torch.ones(4, model.spec.d_model))
        >>> back.shape, constant.shape
        (torch.Size([4, 24]), torch.Size([4]))
        """
        if site.place.read == "write":
            return covectors, covectors.new_zeros(covectors.shape[:-1])
        layer = site.place.layer
        back, constant = self.base.pull.mlp_at(layer, at, covectors)
        if not isinstance(self.base, Contrast) and self.model.spec.mlp_bias:
            constant = constant + (covectors * self.base.writes[self.base.layout.bias("mlp", layer), at]).sum(-1)
        return back, constant

    def error_back(
        self, site: Site, at: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Tensor, Tensor]:
        """Carry covectors through a site's error: the original map less the dictionary's.

        Args:
            site: the place of a dictionary.
            at: positions.
            covectors: at the site's output.

        Returns:
            (covectors on the site's input, constants (*batch, n)).

        >>> site = mixed.sites[0]
        >>> back, constant = mixed.error_back(site, slice(None), torch.ones(4, model.spec.d_model))
        >>> back.shape, constant.shape
        (torch.Size([4, 24]), torch.Size([4]))
        """
        whole_back, whole_constant = self.original(site, at, covectors)
        back, constant = site.back(at, covectors)
        return whole_back - back, whole_constant - constant

    def error_earlier(
        self, site: Site, at: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> list[tuple[int, Float[Tensor, "*batch n d_model"]]]:
        """Carry covectors through the cross-layer latents in a site's error.

        Args:
            site: the place of a dictionary.
            at: positions.
            covectors: at the site's output.

        Returns:
            (how many components have written what is read, covectors) for each earlier layer.

        >>> mixed.error_earlier(mixed.sites[0], slice(None), torch.ones(4, model.spec.d_model))
        []
        """
        return [(self.layout.read_by_mlp(i), -site.back_to(i, at, covectors)) for i in site.earlier]

    @cached_property
    def shown(self) -> dict[int, Tensor]:
        """The components a reader sees, by how many have written before it."""
        masks = {}
        windows = {self.layout.window(c) for c in self.layout.components if c.reads}
        for first, seen in (*windows, (0, len(self.layout.components))):
            masks[seen] = torch.from_numpy(self.layout.shown(first, seen)).to(self.writes.device)
        return masks


@torch.no_grad()
def features(
    linearised: Frozen | Contrast,
    dictionaries: Mapping[str, Dictionary] | int,
    *,
    first: int = 0,
    max_gigabytes: float = 8.0,
) -> Features:
    """Add dictionaries to a linearised input: latents and errors become components.

    Nothing is lost:

        write = Σ_j f_j d_j + b_dec + error

    Active latents are linear in what they read, masks and norm scales fixed, and the error is the original's own linear
    map less the dictionary's; both are carried back to the inputs, so that every attribution sums to the same total,
    however good or bad a dictionary is, and whichever layers have one. In a contrast a latent's difference is taken
    back by its secant (see `interp.attribution.dictionaries.site`). What the literature calls a local replacement
    model (attribution graphs, Ameisen et al. 2025; transcoders, arXiv 2406.11944) ends at its errors; here they are
    carried back too.

    Args:
        linearised: a frozen input, or the contrast of one pair.
        dictionaries: {hook that is read: dictionary}, such as a `saes.DictionarySet`. Transcoders read an MLP's input
            ("blocks.5.mlp.hook_in", "blocks.5.ln2.hook_normalized", "blocks.5.hook_resid_mid") and stand for the MLP,
            cross-layer transcoders for their part of those of all layers that they write;
            autoencoders read and decompose hook_mlp_out, hook_attn_out or hook_resid_pre, _mid or _post. A number k
            instead: no dictionary, the k neurons of each MLP that write most at each position, the others as error.
            In a mixture of experts a dictionary stands for all experts of its layer together.
        first: leave positions before this one to the errors: 1 where position 0 holds the beginning-of-text token,
            whose activations are unlike all others and whose latents mean nothing.
        max_gigabytes: refuse, before computing writes, an input that needs more memory than this.

    Returns:
        An input that `direct`, `sources`, `orders`, `edges`, `path_tree`, `scores` and `graph` take.

    Raises:
        UsageError: a hook that does not exist, two dictionaries of one place, weights that do not fit, latents that
            are not linear while active, a batch of pairs, or more memory than allowed.
        UnsupportedModelError: a number of neurons of a mixture of experts.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), transcoders)  # {hook: dictionary}
    >>> list(transcoders), len(mixed.layout.names)
    (['blocks.0.mlp.hook_in', 'blocks.1.mlp.hook_in', 'blocks.2.mlp.hook_in'], 67)
    """
    check_linearised(linearised)
    if not isinstance(linearised, Frozen | Contrast):
        raise UsageError(f"Dictionaries go into a frozen input or a contrast, not {type(linearised).__name__}.")
    if isinstance(linearised, Contrast) and linearised.tokens.ndim != 2:
        raise UsageError("Dictionaries go into a contrast of one pair: pass one of the pairs, as pair[0].")
    refuse_edits(linearised.model, "attribution.features")
    first = whole(first, "first", 0)
    if isinstance(dictionaries, int):
        if linearised.model.spec.n_expert:
            raise UnsupportedModelError(
                f"{linearised.model.spec.family}: a number of neurons decomposes the MLP of each layer, these have "
                f"{linearised.model.spec.n_expert} experts: give dictionaries, or attribute to the experts."
            )
        k, layers = whole(dictionaries, "dictionaries", 1), range(linearised.model.spec.n_layer)
        sites = [neuron_site(linearised, layer, k, first) for layer in layers]
    else:
        sites = _sites(linearised, dictionaries, first)
    layout = FeatureLayout(linearised.model.spec, linearised.layout, tuple(sites))
    return Features(linearised, dictionaries, layout, _writes(linearised, layout, max_gigabytes), first)


def _sites(linearised: Frozen | Contrast, dictionaries: Mapping[str, Dictionary], first: int) -> list[Site]:
    if not isinstance(dictionaries, Mapping) or not dictionaries:
        raise UsageError(
            "Give dictionaries as {hook that is read: dictionary}, such as a saes.DictionarySet, at least one; or a "
            f"number of neurons. Given was {type(dictionaries).__name__}."
        )
    spec, made = linearised.model.spec, frozen_site if isinstance(linearised, Frozen) else contrast_site
    placed = {hook: places_of(hook, dictionary, spec) for hook, dictionary in dictionaries.items()}
    _check_places(placed)
    parts: dict[tuple[int, int], list[Site]] = {}
    for hook, places in placed.items():
        linear = affine(dictionaries[hook], hook, spec.d_model, linearised.writes, len(places))
        site = made(linearised, places[0], dictionaries[hook], linear, first)  # type: ignore[arg-type]
        for part in spread(site, places, hook):
            parts.setdefault(part.place.order, []).append(part)
    return [joined(parts[order]) for order in sorted(parts)]


def _check_places(placed: Mapping[str, tuple[Place, ...]]) -> None:
    """Refuse two dictionaries of one place.

    Except cross-layer ones that read different layers.
    """
    taken: dict[tuple[int, str], list[str]] = {}
    for hook, places in placed.items():
        for place in places:
            for other in taken.get((place.layer, place.written), []):
                two = places[0], placed[other][0]
                across = max(len(places), len(placed[other])) > 1 and two[0].layer != two[1].layer
                if not across or any(each.read == "write" for each in two):
                    raise UsageError(f"{hook} and {other} both decompose {place.name}: pass only one of them.")
            taken.setdefault((place.layer, place.written), []).append(hook)


def _writes(linearised: Frozen | Contrast, layout: FeatureLayout, max_gigabytes: float) -> Tensor:
    """Return what every component writes, contiguous by position."""
    n, (n_token, d_model) = len(layout.components), linearised.writes.shape[1:]
    needed = n * n_token * d_model * linearised.writes.element_size() / 1e9
    if needed > max_gigabytes:
        most = max(layout.sites, key=lambda site: site.n_slot)
        raise UsageError(
            f"The latents of {n_token} tokens need {needed:.1f} GB, more than max_gigabytes={max_gigabytes:g}: up to "
            f"{most.n_slot} are active at one position in {most.place.name}. Shorten the prompt, leave layers out, or "
            "pass a larger max_gigabytes."
        )
    by_position = linearised.writes.new_zeros(n_token, n, d_model)
    writes = by_position.transpose(0, 1)
    base = {component: i for i, component in enumerate(layout.base.components)}
    for i, component in enumerate(layout.components):
        if component in base:
            writes[i] = linearised.writes[base[component]]
    for site in layout.sites:
        _write_site(linearised, layout, site, by_position)
    return writes


def _write_site(linearised: Frozen | Contrast, layout: FeatureLayout, site: Site, by_position: Tensor) -> None:
    """Fill in a site's latents, skip path and bias.

    The error is the remainder.
    """
    slots, error = layout.slots(site), layout.error(site)
    by_position[:, slots] = site.codes[..., None] * site.decoders
    if site.skip is not None:
        by_position[:, error - 1] = site.skip.write
    by_position[:, error + 1] = site.bias
    if site.place.read == "write":
        first, last = layout.window(layout.components[error])
        shown = torch.from_numpy(np.flatnonzero(layout.shown(first, last))).to(by_position.device)
        whole_write = by_position[:, shown].sum(1)
    else:
        start = linearised.layout.mlp(site.place.layer)
        whole_write = linearised.writes[start : linearised.layout.start(site.place.layer + 1)].sum(0)
    rest = by_position[:, slots.start : error].sum(1) + by_position[:, error + 1]
    by_position[:, error] = whole_write - rest
