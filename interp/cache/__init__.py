"""Activations of a model: in memory, on disk, or streamed.

    model = interp.load("smollm2")
    cache.run_with_cache(model, tokens, ("blocks.10.hook_resid_post",))       # in memory
    config = cache.Config(hooks=("blocks.10.hook_resid_post",), context=128, max_gigabytes=5)
    store = cache.harvest(model, cache.documents("corpus/"), config, "out/acts")          # on disk
    for batch in store.batches(2048, seed=0): ...                             # (2048, 576), shuffled
    for batch in cache.stream(model, rows, "blocks.10.hook_resid_post", seed=0): ...      # no disk

**Left out by default, and stated in the manifest:** position 0 of every context, where models park an enormous
vector for every token (behind blocks 11 to 27 of SmolLM2 its norm is about 22,700, that of other positions
150 to 600), and padding. `Config(exclude=())` includes both. Names are imported when first used; reading a manifest
needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.cache.config import EXCLUDED as EXCLUDED, Config as Config
    from interp.cache.contexts import Contexts as Contexts
    from interp.cache.examples import TopExamples as TopExamples
    from interp.cache.forward import activations as activations
    from interp.cache.harvest import harvest as harvest
    from interp.cache.manifest import Manifest as Manifest, Statistics as Statistics
    from interp.cache.plan import Plan as Plan, plan as plan
    from interp.cache.store import Store as Store, verify as verify
    from interp.cache.stream import ModelStream as ModelStream, stream as stream
    from interp.cache.text import documents as documents, token_rows as token_rows
    from interp.cache.top_examples import top_examples as top_examples
    from interp.model.capture import Cache as Cache, run_with_cache as run_with_cache

attach(__name__)
