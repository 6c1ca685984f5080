"""Activations: which of them, in memory, on disk, or streamed.

    model = interp.load("smollm2")
    cache.run_with_cache(model, tokens, ("blocks.10.hook_resid_post",))       # in memory
    config = cache.Config(hooks=("blocks.10.hook_resid_post",), context=128, max_gigabytes=5)
    store = cache.harvest(model, cache.documents("corpus/"), config, "out/acts")          # on disk
    for batch in store.batches(2048, seed=0): ...                             # (2048, 576), shuffled
    for batch in cache.stream(model, rows, "blocks.10.hook_resid_post", seed=0): ...      # no disk

**Left out by default, and said so in the manifest:** position 0 of every context, where models park an enormous
vector whatever the token is (behind blocks 11 to 27 of SmolLM2 its norm is about 22,700, that of other positions
150 to 600), and padding. `Config(exclude=())` keeps both. Names are fetched when first used; reading a manifest
needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.cache.config import EXCLUDED, Config
    from interp.cache.contexts import Contexts
    from interp.cache.forward import activations
    from interp.cache.harvesting import harvest
    from interp.cache.manifest import Manifest, Statistics
    from interp.cache.planning import Plan, plan
    from interp.cache.store import Store, verify
    from interp.cache.streaming import stream
    from interp.cache.text import documents, token_rows
    from interp.model.capture import Cache, run_with_cache

__all__ = [
    "Cache",
    "run_with_cache",
    "Config",
    "EXCLUDED",
    "documents",
    "token_rows",
    "Contexts",
    "plan",
    "Plan",
    "harvest",
    "Store",
    "Manifest",
    "Statistics",
    "verify",
    "activations",
    "stream",
]

_MODULES = {
    "Cache": "interp.model.capture",
    "run_with_cache": "interp.model.capture",
    "Config": "interp.cache.config",
    "EXCLUDED": "interp.cache.config",
    "documents": "interp.cache.text",
    "token_rows": "interp.cache.text",
    "Contexts": "interp.cache.contexts",
    "plan": "interp.cache.planning",
    "Plan": "interp.cache.planning",
    "harvest": "interp.cache.harvesting",
    "Store": "interp.cache.store",
    "verify": "interp.cache.store",
    "Manifest": "interp.cache.manifest",
    "Statistics": "interp.cache.manifest",
    "activations": "interp.cache.forward",
    "stream": "interp.cache.streaming",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'interp.cache' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
