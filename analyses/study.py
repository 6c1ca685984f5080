"""Base class of every study's result. Loads no torch.

A result gives its finding as text, as values and as a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Download, Page

MIME = {".json": "application/json", ".safetensors": "application/octet-stream"}


@dataclass(frozen=True, eq=False)
class Study(Result):
    """Result of one study: everything its report says.

    The function `run(...)` of each study returns a subclass of this.

    >>> study  # study = attention.run(model, prompts, heads)
    Patterns(L1H0 of llama object looks from “·in” at “·tower” (98%); 2 heads on 1 prompts.)
    """

    def finding(self) -> str:
        """Return the answer in one sentence.

        It gives the size of the effect, and its check or interval.

        >>> study.finding()  # study = attention.run(model, prompts, heads)
        'L1H0 of llama object looks from “·in” at “·tower” (98%); 2 heads on 1 prompts.'
        """
        raise NotImplementedError

    def page(self) -> Page:
        """Return the report as a page.

        The function `page` of the module `page` in the same package draws it. The module is looked up by name:
        a page imports its result, so a result cannot import its page.

        >>> study.page().title  # study = attention.run(model, prompts, heads)
        'Attention of L1H0, L2H3'
        """
        folder = type(self).__module__.rpartition(".")[0]
        return import_module(f"{folder}.page").page(self)

    def summary(self) -> str:
        """Return the finding and its evidence as text for the terminal.

        >>> print(study.summary())  # study = attention.run(model, prompts, heads)
        L1H0 of llama object looks from “·in” at “·tower” (98%); 2 heads on 1 prompts.
        """
        return self.finding()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> list(study.to_dict())  # study = attention.run(model, prompts, heads)
        ['finding', 'strongest']
        """
        return {"finding": self.finding()}

    def downloads(self) -> tuple[Download, ...]:
        """Return the files of the result, for its page to carry.

        >>> [file.name for file in study.downloads()]  # study = attention.run(model, prompts, heads)
        ['result.json', 'arrays.safetensors']
        """
        from interp.report import Download

        files = sorted(self.files().items(), reverse=True)
        return tuple(Download(name, content, MIME["." + name.rpartition(".")[2]]) for name, content in files)

    def extra_files(self) -> dict[str, bytes]:
        """Return further files for the folder of the result, by name.

        >>> study.extra_files()  # study = attention.run(model, prompts, heads), which has no further files
        {}
        """
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.finding()})"
