"""Evaluation protocol of probes: splits, model selection, controls, intervals, verdicts.

`splits` assigns entities to the train or test side, `model_selection` chooses layer and strength on the train side
alone, `metrics` and `intervals` evaluate on the test side, `controls` and `baselines` give numbers to compare with, and
`verdicts` states what the result shows. `sweep`, `transfer` and `leave_one_out` are the three experiments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes.protocol.baselines import log_probs as log_probs
    from probes.protocol.leave_one_out import leave_one_out as leave_one_out
    from probes.protocol.results import Sweep as Sweep
    from probes.protocol.splits import Split as Split, own_split as own_split, split as split
    from probes.protocol.sweep import sweep as sweep
    from probes.protocol.transfer import transfer as transfer
    from probes.protocol.transfer_results import LeftOut as LeftOut, Transfer as Transfer

attach(__name__)
