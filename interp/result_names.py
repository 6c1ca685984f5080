"""Names in saved results: modules that define their classes, and names of earlier versions.

A module with a new result class is added to `MODULES`. Where a class or a field gets another name, the earlier one is
added to `RENAMED` or `RENAMED_FIELDS`, so that files of earlier versions load.
"""

from __future__ import annotations

MODULES = (
    *("interp.attribution.paths", "interp.attribution.results", "interp.patching.results", "interp.toy.trained"),
    *("interp.attribution.difference", "interp.attribution.lens_results"),
    *("interp.attribution.averaged", "interp.cache.examples"),
    *("interp.attribution.graphs.result", "interp.attribution.graphs.checks"),
    *("interp.tasks.score", "interp.toy.modular.trained", "analyses.study"),
    *("interp.discovery.graph", "interp.discovery.scores", "interp.discovery.circuit"),
    *("interp.discovery.curve", "interp.discovery.verdict", "interp.discovery.headsets"),
    *("interp.steering.behaviours", "interp.steering.response", "interp.steering.vectors"),
    *("interp.circuits.embedding.results", "interp.circuits.readings", "interp.circuits.results"),
    *("interp.circuits.head_results", "analyses.dictionary.features"),
    *("probes.erasure", "probes.erasure_report", "probes.estimators.persistence", "probes.intervention.results"),
    *("probes.layers", "probes.rows", "probes.statements", "probes.streaming.statistics"),
    *("probes.protocol.resemblance", "probes.protocol.results", "probes.protocol.splits"),
    *("probes.protocol.control_results", "probes.protocol.transfer_results"),
    *("saes.evaluation.result", "saes.evaluation.scores", "saes.sets.result"),
    *(
        "analyses.circuits.result",
        "analyses.completions.result",
        "analyses.dictionary.result",
        "analyses.discovery.result",
        "analyses.explain.contrasted",
        "analyses.explain.result",
        "analyses.faithful.result",
        "analyses.graph.result",
        "analyses.attention.result",
        "analyses.examples.result",
        "analyses.lens.result",
        "analyses.steering.result",
        "analyses.truth.result",
        "analyses.universality.result",
    ),
    *(
        f"analyses.superposition.{name}"
        for name in (
            *("adversarial", "base", "capacity", "closedforms", "collapse", "computation", "correlation"),
            *("dimensions", "dynamics", "geometry", "ladder", "memorisation", "perturbation", "phases"),
        )
    ),
    *(
        f"analyses.bydesign.{name}"
        for name in ("addition", "heads", "masks", "modular", "regression", "sparse", "tickets")
    ),
)
"""The modules that define the toolkit's results: the only ones that loading a file imports."""
RENAMED = {
    "interp.attribution.results:LogitLens": "interp.attribution.lens_results:LogitLens",
    "analyses.dictionary.result:Features": "analyses.dictionary.features:Features",
    "interp.circuits.results:Ablation": "interp.circuits.head_results:Ablation",
    "interp.circuits.results:HeadScores": "interp.circuits.head_results:HeadScores",
    "probes.erasing:Eraser": "probes.erasure:Eraser",
    "probes.erasure:Erased": "probes.erasure_report:Erased",
    "probes.erasure:ErasureReport": "probes.erasure_report:ErasureReport",
    "probes.estimators.saving:Origin": "probes.estimators.persistence:Origin",
    "probes.estimators.saving:SavedProbe": "probes.estimators.persistence:SavedProbe",
    "probes.intervening.results:Intervention": "probes.intervention.results:Intervention",
    "probes.protocol.results:Baseline": "probes.protocol.control_results:Baseline",
    "probes.protocol.results:Controls": "probes.protocol.control_results:Controls",
    "probes.protocol.results:Null": "probes.protocol.control_results:Null",
    "probes.protocol.results:Selectivity": "probes.protocol.control_results:Selectivity",
    "probes.protocol.results:LeftOut": "probes.protocol.transfer_results:LeftOut",
    "probes.protocol.results:Transfer": "probes.protocol.transfer_results:Transfer",
    "probes.reading:Problem": "probes.rows:Problem",
}
"""Names of classes in files of earlier versions, with the names of today."""
RENAMED_FIELDS = {
    "analyses.bydesign.masks:Config": {"batch": "batch_size"},
    "analyses.bydesign.tickets:Config": {"batch": "batch_size"},
    "analyses.bydesign.tickets:Tickets": {"kept": "density"},
    "analyses.circuits.result:Config": {"controls": "n_controls", "texts": "n_text"},
    "analyses.dictionary.result:Config": {"rivals": "inhibitor_candidates"},
    "analyses.dictionary.result:Features": {
        "rivals": "inhibitor_candidates",
        "rival_weight": "inhibitor_weight",
        "together": "common_rows",
        "strangers": "controls",
        "strangers_together": "control_common_rows",
    },
    "analyses.discovery.result:Config": {"controls": "n_controls"},
    "analyses.examples.result:Examples": {"found": "examples"},
    "analyses.steering.result:Config": {"n_random": "n_controls"},
    "analyses.superposition.correlation:Correlation": {"together": "correlated", "apart": "anticorrelated"},
    "analyses.superposition.dimensions:Config": {"batch": "batch_size"},
    "interp.attribution.averaged:Averaged": {"values": "observed"},
    "interp.attribution.results:Verification": {"values": "array"},
    "interp.discovery.headsets:Backups": {"together": "joint", "apart": "summed"},
    "interp.toy.modular.trained:Trained": {"kept": "remaining"},
    "saes.evaluation.scores:Score": {"judged_on": "evaluated_on"},
}
"""Names of fields in files of earlier versions, with the names of today."""
