"""Study of tuned lenses: `fit(...)`, then `run(...)`.

Lenses are fitted to a model and compared with the logit lens on held-out text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.lens.result import FILE as FILE, Config as Config, Lenses as Lenses
    from analyses.lens.study import fit as fit, run as run

attach(__name__)
