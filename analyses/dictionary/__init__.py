"""A dictionary judged and read: how well an autoencoder rebuilds, and what each of its latents stands for.

study = dictionary.run(sae, store, model=model)            # `store` holds activations with the tokens they are of
study.save("out/dictionary"); study.page()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyses.dictionary.collecting import collect
    from analyses.dictionary.passages import Corpus
    from analyses.dictionary.result import Config, DictionaryStudy, Features, Other
    from analyses.dictionary.study import run

__all__ = ["run", "collect", "Config", "Corpus", "DictionaryStudy", "Features", "Other"]

_MODULES = {
    "run": "study",
    "collect": "collecting",
    "Config": "result",
    "Corpus": "passages",
    "DictionaryStudy": "result",
    "Features": "result",
    "Other": "result",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analyses.dictionary' has no attribute {name!r}")
    return getattr(import_module(f"analyses.dictionary.{_MODULES[name]}"), name)
