"""Studies of networks that are interpretable by design or by pruning.

Each number has its band and a control.

    study = analyses.bydesign.study("modular")           # a module with Config, run(config) and a Result
    result = study.run(study.Config(seed=0))
    result.checks                                        # the paper's number, ours, the band, pass or fail

Each study has one size: `--full` changes nothing. All run on the processor: their matrices have tens of rows.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from interp.errors import UsageError, nearest

__all__ = ["STUDIES", "require_cpu", "study"]

STUDIES = {
    "modular": "a cost for the length of connections splits a network into the parts of its formula",
    "addition": "modular addition with a wiring cost: few frequencies; also permutations",
    "regression": "linear regression in context with a wiring cost: fewer and shorter connections",
    "masks": "pruning before and after training: which scores lose a layer, and the loss of each",
    "tickets": "lottery tickets against the same masks with new weights",
    "sparse": "weight-sparse transformers: edges of a faithful circuit, compared with dense ones",
    "heads": "heads or layers trained together, in turn or apart: what each adds, and how many a task needs",
}
"""Name of a study, which is also the name of its module -> what it shows."""


def study(name: str) -> ModuleType:
    """Return the module of a study.

    Raises:
        UsageError: the name is unknown.

    Example:
        >>> study("modular").Config(seed=1).seed
        1
    """
    if name not in STUDIES:
        raise UsageError(f'There is no study "{name}"{nearest(name, STUDIES)} (studies: {", ".join(STUDIES)}).')
    return import_module(f"analyses.bydesign.{name}")


def require_cpu(device: str) -> None:
    """Raise `UsageError` for a device other than "cpu".

    These studies run on the processor only.

    >>> require_cpu("cpu")  # raises for any other device
    """
    if device != "cpu":
        names = ", ".join(STUDIES)
        raise UsageError(f'device is "{device}"; the studies {names} run on "cpu" only: leave out device=.')
