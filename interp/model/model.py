"""`Model`: a language model with its facts, weights and activations."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.model import capture, generation, token_ids
from interp.model.digest import identity, weights_sha256
from interp.model.edits import Bound, Edit, bind, stream_before
from interp.model.families import Parts
from interp.model.hooks import Place, places
from interp.model.observed import Structure, input_device, not_exact
from interp.model.spec import Spec, summary
from interp.model.tokens import Tokens
from interp.model.weights import Weights

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Model:
    """Causal language model with its facts, folded weights and activations.

    The facts are those of its architecture (`spec`). Made by `interp.load`. `hf` is the `transformers` model, run
    without changes and never modified; `bridge` is the transformer_lens view of the same parameters, made when first
    asked for. Hooks added to `bridge` take part in every run of this object.

    >>> model = interp.load("smollm2")  # doctest: +SKIP
    >>> logits, cache = model.run_with_cache("the tower is in", "blocks.1.hook_resid_post")
    >>> logits.shape, cache["blocks.1.hook_resid_post"].shape
    (torch.Size([1, 4, 64]), torch.Size([1, 4, 24]))
    """

    def __init__(
        self, hf: Any, family: ModuleType | Structure, spec: Spec, tokens: Tokens | None, name: str, origin: str = ""
    ):
        self.hf = hf
        self.structure = family if isinstance(family, Structure) else None
        """Where the streams of an observed model are; None for an exact family."""
        self.spec = spec
        self.name = name
        self.origin = origin
        """What kind of weights these are, where the name alone does not say it."""
        self.edits: tuple[Bound, ...] = ()
        self.start = 0
        """The first block that is computed; see `resumed`."""
        self.lock = threading.RLock()
        """Locked during a run: hooks belong to the modules, so two threads take turns."""
        self.parts: Parts = cast(Any, family) if isinstance(family, Structure) else family.parts(hf)
        self._family = family
        self._tokens = tokens

    @property
    def level(self) -> Literal["exact", "observed"]:
        """How much is known of the model: "exact" or "observed".

        An observed model runs, caches, is edited at its hooks and generates; what needs its folded weights raises
        `UnsupportedModelError`.
        """
        return "exact" if self.structure is None else "observed"

    @cached_property
    def weights(self) -> Weights:
        """The folded weights; `UnsupportedModelError` for an observed model."""
        if isinstance(self._family, Structure):
            raise not_exact(self._family.family)
        return Weights(self.hf, self._family, self.spec)

    def with_cached_weights(self) -> Model:
        """Return a copy that reads the parameters of each block once.

        For loops over heads during which nothing is trained or replaced; see `interp.model.weights.CachedWeights`.

        >>> fast = model.with_cached_weights()
        >>> fast.weights.W_Q(layer=1, head=0).shape
        torch.Size([24, 8])
        """
        made = copy.copy(self)
        vars(made)["weights"] = self.weights.cached()
        return made

    def __call__(
        self, tokens: Tensor | str | list[str], attention_mask: Tensor | None = None
    ) -> Float[Tensor, "batch n_token d_vocab"]:
        """Return the logits of every position of tokens or a text.

        For errors see `check_tokens`. Texts of different lengths are padded on the right (see `to_tokens`).
        `attention_mask` is 0 on padding, which must be on the right: positions are counted from the first column.
        """
        tokens = self.check_tokens(tokens)
        return capture.logits(self, tokens, token_ids.checked_mask(tokens, attention_mask))

    def run_with_cache(
        self,
        tokens: Tensor | str | list[str],
        names: str | list[str] | tuple[str, ...],
        stop_at_layer: int | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, capture.Cache]:
        """Return the logits of a run and the named activations.

        Args:
            tokens: ids (batch, n_token), or texts.
            names: one or several transformer_lens hook names, such as "blocks.10.hook_resid_post".
            stop_at_layer: stop before this block and return the residual stream there instead of logits; None runs to
                the end.
            attention_mask: (batch, n_token), 0 at padding.

        Returns:
            (logits (batch, n_token, d_vocab), `Cache` of the activations by hook name).

        Raises:
            UsageError: hooks that are not named by strings, a hook that does not exist, or tokens that the model cannot
                read.

        >>> logits, cache = model.run_with_cache("the tower is in", ["blocks.0.attn.hook_pattern"])
        >>> cache["blocks.0.attn.hook_pattern"].shape  # (batch, n_head, query, key)
        torch.Size([1, 4, 4, 4])
        """
        tokens = self.check_tokens(tokens)
        mask = token_ids.checked_mask(tokens, attention_mask)
        return capture.run_with_cache(self, tokens, capture.checked_names(names), stop_at_layer, mask)

    def edited(self, *edits: Edit) -> Model:
        """Return a copy of this model with edits made in every run.

        This object does not change. The edits are made after those that it already has. The edited model shares the
        parameters, runs, caches and generates; its hooks are in place during a run only.

        Raises:
            UsageError: an unknown hook (with the nearest right one), values that do not fit its shape, or hooks on the
                bridge, which an edited run would not see.

        >>> edited = model.edited(interp.edit.zero("blocks.1.hook_mlp_out"))
        >>> edited.edits[0].edit, edited("the tower is").shape
        (zero(blocks.1.hook_mlp_out), torch.Size([1, 3, 64]))
        """
        if capture.bridge_is_hooked(self):
            raise UsageError("The model's bridge has hooks of its own: remove them first (model.bridge.reset_hooks()).")
        made = copy.copy(self)
        vars(made).pop("bridge", None)
        made.edits = (*self.edits, *bind(self, edits))
        return made

    def resumed(self, layer: int, stream: Float[Tensor, "row n_token d_model"]) -> Model:
        """Return a copy of this model whose runs begin at block `layer`.

        They begin from the given stream. Earlier blocks are not computed. `stream` is that of the same prompts in a run
        of this model; tokens may hold them several times over, one copy after the other, so that many changes of later
        blocks are rows of one run.

        >>> logits, activations = model.run_with_cache(tokens, "blocks.2.hook_resid_pre")
        >>> resumed = model.resumed(2, activations["blocks.2.hook_resid_pre"])(tokens)
        >>> (resumed - logits).abs().max()
        tensor(0.)
        """
        if layer == 0:
            return self
        made = self.edited(stream_before(layer, stream))
        made.start = layer
        return made

    def generate(
        self,
        prompt: str | Tensor | Sequence[Mapping[str, str]],
        max_tokens: int = 50,
        *,
        edits: Sequence[Edit] = (),
        temperature: float = 0.0,
        seed: int = 0,
        chat: bool = False,
        use_cache: bool = True,
    ) -> str:
        """Return the text that the model adds after a prompt.

        Args:
            prompt: a text, token ids (1, n_token), or with `chat` a question or a list of messages.
            max_tokens: most tokens to add; fewer if the text ends before.
            edits: made while generating, after those of the model; see `edited`.
            temperature: 0 takes the likeliest token each time, above that one is drawn from softmax(logits / T).
            seed: of the draws.
            chat: put the prompt into the chat template that an instruct model was trained on.
            use_cache: keep keys and values of earlier positions. The text is the same without, only slower; under edits
                that look at several positions at once (`edit.function`) it is generated without in any case.

        Returns:
            The added text, without the prompt.

        Raises:
            UsageError: more tokens than the context holds, a chat without a template, or a wrong kind of argument.
            NotFiniteError: logits that are not finite.

        >>> model.generate("the tower is in", max_tokens=3)
        ' 🗼Paris'
        """
        options = {"temperature": temperature, "seed": seed, "use_cache": use_cache}
        return "".join(self.stream(prompt, max_tokens, edits=edits, chat=chat, **options))

    def stream(
        self,
        prompt: str | Tensor | Sequence[Mapping[str, str]],
        max_tokens: int = 50,
        *,
        edits: Sequence[Edit] = (),
        chat: bool = False,
        **options: Any,
    ) -> Iterator[str]:
        """Yield the text of `generate` token by token.

        Args:
            prompt: as in `generate`.
            max_tokens: most tokens to add.
            edits: as in `generate`.
            chat: as in `generate`.
            **options: `temperature`, `seed` and `use_cache` of `generate`.

        Returns:
            An iterator over the pieces of text; joined, they are what `generate` returns.

        >>> list(model.stream("the tower is in", max_tokens=3))
        [' 🗼', '', 'Paris']
        """
        model = self.edited(*edits) if edits else self
        ids = generation.generated_ids(model, generation.prompt_ids(model, prompt, chat), max_tokens, **options)
        return generation.pieces(model, ids)

    def generate_tokens(
        self, tokens: Int[Tensor, "1 n_token"], max_tokens: int = 50, **options: Any
    ) -> Int[Tensor, " n_new"]:
        """Return the ids that `generate` would add to those of one prompt.

        It works for models without a tokenizer too.

        Args:
            tokens: ids (1, n_token) of the prompt.
            max_tokens: most tokens to add.
            **options: `temperature`, `seed` and `use_cache` of `generate`.

        Returns:
            The ids (n_new,), without those of the prompt.

        >>> model.generate_tokens(model.to_tokens("the tower is in"), max_tokens=3)
        tensor([24, 27,  7])
        """
        ids = list(generation.generated_ids(self, tokens, max_tokens, **options))
        return torch.tensor(ids, dtype=torch.long, device=self.device)

    def hooks(self) -> dict[str, tuple[str | int, ...]]:
        """Return the hook points that can be edited, with their shapes.

        They are in the order of a run. Any other hook of `model.bridge` can be read by `run_with_cache`, but not
        edited.

        >>> model.hooks()["blocks.0.attn.hook_z"]
        ('batch', 'n_token', 4, 8)
        """
        return {name: place.axes for name, place in self.places.items()}

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each hook point is; see `interp.model.hooks`."""
        return places(self)

    def to_tokens(self, text: str | list[str], prepend_bos: bool | None = None) -> Int[Tensor, "batch n_token"]:
        """Return the token ids of one or several texts.

        Several are padded on the right; see `Tokens.encode`.

        >>> model.to_tokens(["the tower is in Paris", "a b"])
        tensor([[ 3, 16, 17, 18, 19],
                [13, 26,  2,  2,  2]])
        """
        return self._tokenizer.encode(text, prepend_bos).to(self.device)

    def to_str_tokens(self, text: str | Tensor, prepend_bos: bool | None = None) -> list[str]:
        """Return the text of each token, given a text or ids.

        >>> model.to_str_tokens("the tower is in Paris")
        ['the', ' tower', ' is', ' in', ' Paris']
        """
        if isinstance(text, str):
            return self._tokenizer.texts(self.to_tokens(text, prepend_bos)[0])
        row = token_ids.checked_row(text, self.spec.d_vocab)
        return self._tokenizer.texts(row)

    def to_single_token(self, text: str) -> int:
        """Return the id of one token's text, or raise `UsageError`.

        >>> model.to_single_token(" Paris")
        19
        """
        return self._tokenizer.single(text)

    def token_id(self, token: str | int) -> int:
        """Return the id of a token, given by text or id.

        Raises `UsageError` for a text that is not one token, or one that the vocabulary lacks, and for anything that is
        not an id from 0 to d_vocab − 1.

        >>> model.token_id(" Paris"), model.token_id(5)
        (19, 5)
        """
        if isinstance(token, str):
            return self.to_single_token(token)
        return token_ids.checked_id(token, self.spec.d_vocab)

    def labels(self, tokens: Tensor) -> tuple[str, ...]:
        """Return one row's token texts, or its ids without a tokenizer.

        >>> model.labels(model.to_tokens("the tower is"))
        ('the', ' tower', ' is')
        """
        row = torch.as_tensor(tokens).flatten()
        return tuple(self.to_str_tokens(row)) if self.has_tokenizer else tuple(map(str, row.tolist()))

    @property
    def has_tokenizer(self) -> bool:
        """Whether the model can work with text."""
        return self._tokens is not None

    @property
    def tokenizer(self) -> Any:
        """The `transformers` tokenizer; `UsageError` if the model was loaded without one."""
        return self._tokenizer.tokenizer

    @cached_property
    def bridge(self) -> TransformerBridge:
        """The transformer_lens `TransformerBridge` over the same parameters.

        In a float64 model it still normalises and attends through float32, to about 2e-7: only what is read from it.
        """
        from interp.model.bridge import boot

        if self.structure is not None:
            raise not_exact(self.structure.family)
        if self.edits:
            raise UsageError("An edited model has no bridge: its edits would not reach it.")
        return boot(self.hf, None if self._tokens is None else self._tokens.tokenizer, self.name)

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype."""
        return next((value.dtype for value in self.hf.parameters() if value.is_floating_point()), torch.float32)

    @property
    def device(self) -> torch.device:
        """The parameters' device."""
        return input_device(self.hf)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 digest of the current parameters.

        It covers the name, dtype, shape and bytes of every parameter, and takes about a second.
        """
        return weights_sha256(self.hf)

    def identity(self) -> dict[str, str]:
        """Return what a `Provenance` records of the model.

        >>> {key: model.identity()[key] for key in ("dtype", "device")}
        {'dtype': 'float32', 'device': 'cpu'}
        """
        return identity(self)

    def check_tokens(self, tokens: Tensor | str | list[str]) -> Int[Tensor, "batch n_token"]:
        """Return tokens (batch, n_token) on the model's device, checked.

        A single row may come without its batch axis, and text is tokenized. Raises `UsageError` for an empty input, one
        beyond the context, or ids outside the vocabulary.

        >>> model.check_tokens(torch.tensor([1, 2, 3])).shape
        torch.Size([1, 3])
        """
        if isinstance(tokens, str) or (isinstance(tokens, list) and tokens and isinstance(tokens[0], str)):
            tokens = self.to_tokens(tokens)
        facts = self.spec
        return token_ids.checked_batch(tokens, facts.n_ctx, facts.d_vocab, self.name).to(self.device, torch.long)

    @property
    def _tokenizer(self) -> Tokens:
        if self._tokens is None:
            raise UsageError(f"{self.name} was loaded without a tokenizer: use interp.load(hf_model, tokenizer=...).")
        return self._tokens

    def __repr__(self) -> str:
        edits = f", edits: {', '.join(one.edit.text for one in self.edits)}" if self.edits else ""
        level = "" if self.structure is None else "observed, "
        return f"Model({self.name}: {level}{summary(self.spec)}, {self.dtype}, {self.device}{edits})"
