"""Linear probes of a model's activations.

They come with splits, controls and intervals that make the results reliable.

    data  = probes.read_statements("cities.csv")
    acts  = probes.collect(model, data, layers="all", position="last")
    probe = probes.MassMean().fit(acts.at(13), data.labels)

Names are imported on first use; reading saved results needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes import batched as batched, intervention as intervention, protocol as protocol, streaming as streaming
    from probes.activations import Activations as Activations
    from probes.collect import collect as collect, collect_with_log_probs as collect_with_log_probs
    from probes.erasure import Eraser as Eraser, Leace as Leace
    from probes.erasure_report import ErasureReport as ErasureReport, erasure_report as erasure_report
    from probes.estimators.attention import AttentionPooled as AttentionPooled
    from probes.estimators.ccs import CCS as CCS
    from probes.estimators.crc import CRC as CRC
    from probes.estimators.lda import LDA as LDA
    from probes.estimators.logistic import LogisticRegression as LogisticRegression
    from probes.estimators.massmean import MassMean as MassMean
    from probes.estimators.persistence import load as load
    from probes.estimators.ridge import Ridge as Ridge
    from probes.estimators.saplma import SAPLMA as SAPLMA
    from probes.estimators.ttpd import TTPD as TTPD
    from probes.generated import GENERATED as GENERATED, generate as generate
    from probes.intervention import (
        Intervention as Intervention,
        InterventionConfig as InterventionConfig,
        Question as Question,
        as_target as as_target,
        intervene as intervene,
    )
    from probes.protocol import (
        LeftOut as LeftOut,
        Split as Split,
        Sweep as Sweep,
        Transfer as Transfer,
        leave_one_out as leave_one_out,
        log_probs as log_probs,
        own_split as own_split,
        split as split,
        sweep as sweep,
        transfer as transfer,
    )
    from probes.statement_files import read_statements as read_statements
    from probes.statements import Statements as Statements, join as join, paired as paired
    from probes.streaming.statistics import Statistics as Statistics

attach(__name__)
