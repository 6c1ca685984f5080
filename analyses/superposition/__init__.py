"""Studies that reproduce the figures of Toy Models of Superposition (arXiv 2209.10652).

Each is checked against theory and the paper.

    study = analyses.superposition.study("geometry")     # a module with Config, run(config) and a Result
    result = study.run(study.Config(seed=0))
    result.checks                                        # the paper's number, ours, the band, pass or fail
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from interp.errors import UsageError, nearest

__all__ = ["STUDIES", "study"]

STUDIES = {
    "geometry": "five features in two dimensions, by sparsity: nothing, pairs, a pentagon",
    "phases": "when superposition pays: trained models against closed-form theory",
    "dimensions": "dimensions per feature, and the levels at which features gather",
    "correlation": "which features share a dimension if they are correlated or anticorrelated",
    "collapse": "from superposition to principal components as data grow denser",
    "perturbation": "one feature made rarer: the pentagon breaks into two pairs",
    "computation": "computing |x| of more features than neurons",
    "adversarial": "features that interfere can be attacked through each other",
    "dynamics": "dimensionality of features during training",
    "memorisation": "few data points are memorised, many are stored as features; between both the test loss has a peak",
    "capacity": "a theorem on dimensionality, polytopes, and how many directions fit",
    "closedforms": "identities of linear models that the toolkit relies on",
    "ladder": "recovery of a dictionary: sparse autoencoders against K-SVD, an oracle and chance",
}
"""Name of a study, which is also the name of its module -> what it shows."""


def study(name: str) -> ModuleType:
    """Return the module of a study.

    Raises:
        UsageError: the name is unknown.

    Example:
        >>> study("geometry").Config(seed=1).seed
        1
    """
    if name not in STUDIES:
        raise UsageError(f'There is no study "{name}"{nearest(name, STUDIES)} (studies: {", ".join(STUDIES)}).')
    return import_module(f"analyses.superposition.{name}")
