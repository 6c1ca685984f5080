"""Study of a prompt's attribution graph: `run(model, Config(...)) -> GraphStudy`.

It shows which sparse latents feed each other and the next token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.graph.result import Config as Config, GraphStudy as GraphStudy
    from analyses.graph.study import run as run

attach(__name__)
