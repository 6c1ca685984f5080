"""Mixins that display a result in a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.report.blocks import Figure
    from interp.report.table import Table


class Framed:
    """Mixin for values that a notebook shows in their own frame.

    Such as a page, a figure or a line of tokens.
    """

    def _repr_html_(self) -> str:
        # By name: the page imports the blocks it draws, so a block cannot import the page.
        return import_module("interp.report.page").frame(self)


class Shown:
    """Mixin for results that have `table()`, and perhaps `figure()`.

    A notebook draws the figure, else the table.

    >>> result = attribution.direct(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> isinstance(result, Shown)
    True
    """

    def table(self) -> Table:
        """Return the result as a table.

        >>> result.table().rows[0]
        ('MLP1', 1.662, 0.286)
        """
        raise NotImplementedError

    def figure(self) -> Figure | None:
        """Return the result as a figure, None where it has none.

        >>> result.figure()
        Figure(contributions: Bars of the 20 largest contributions; the first is MLP1 with +1.662.)
        """
        return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        figure = self.figure()
        if figure is None:
            return {"text/html": self.table()._repr_html_(), "text/plain": repr(self)}
        from interp.report.notebook import bundle

        return bundle(figure, repr(self))

    def _repr_html_(self) -> str:
        figure = self.figure()
        return self.table()._repr_html_() if figure is None else figure._repr_html_()
