"""Activations: which of them, in memory.

`run_with_cache(model, tokens, names, stop_at_layer=None, attention_mask=None)` is what `Model.run_with_cache` calls
after it has checked the tokens; `Cache` is the dictionary it returns.
"""

from interp.model.capture import Cache, run_with_cache

__all__ = ["Cache", "run_with_cache"]
