"""Study of whether a direction in a model encodes truth.

Usage: `run(model, Config(data=("cities.csv",)))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.truth.result import Config as Config, Plane as Plane, SetOf as SetOf, TruthStudy as TruthStudy
    from analyses.truth.study import run as run

attach(__name__)
