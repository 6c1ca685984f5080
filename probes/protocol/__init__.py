"""The protocol that makes a probe's number mean something: splits, choice, controls, intervals, verdicts.

`splits` puts entities on sides, `choosing` picks layer and strength on the train side alone, `metrics` and `intervals`
measure on the test side, `controls` and `baselines` say what the number must be held against, and `verdicts` what it
shows. `sweeping`, `transferring` and `leaving` are the three questions asked with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes.protocol.baselines import log_probs as log_probs
    from probes.protocol.leave_one_out import leave_one_out as leave_one_out
    from probes.protocol.results import LeftOut as LeftOut, Sweep as Sweep, Transfer as Transfer
    from probes.protocol.splits import Split as Split, own_split as own_split, split as split
    from probes.protocol.sweep import sweep as sweep
    from probes.protocol.transfer import transfer as transfer

attach(__name__)
