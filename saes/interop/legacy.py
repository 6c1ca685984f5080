"""SAELens settings before version 6.

They are one flat list of settings of the whole training run.
"""

from __future__ import annotations

from typing import Any

RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
OF_THE_WEIGHTS = {
    *("architecture", "d_in", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations", "k"),
    *("reshape_activations", "finetuning_scaling_factor"),
}
DROPPED = {"activation_fn", "activation_fn_kwargs"}


def is_before_6(config: dict[str, Any]) -> bool:
    """Return whether settings are from before version 6.

    Such settings have no nested metadata, and no version 6 or later. SAELens drops nested metadata without a version;
    here they are read.

    >>> is_before_6({"d_in": 4, "d_sae": 8})
    True
    """
    if "metadata" in config:
        return False
    major = str(config.get("sae_lens_version") or "0").split(".")[0]
    return not (major.isdigit() and int(major) >= 6)


def from_before_6(config: dict[str, Any]) -> dict[str, Any]:
    """Convert settings to those of version 6.

    Settings of the training run go into the metadata.
    """
    flat = {RENAMED.get(name, name): value for name, value in config.items()}
    settings = {name: value for name, value in flat.items() if name in OF_THE_WEIGHTS}
    settings.setdefault("architecture", "standard")
    given = flat.get("activation_fn_kwargs")
    arguments = given if isinstance(given, dict) else {}
    if flat.get("activation_fn") == "topk" and arguments.get("k") is not None:
        # Read as "standard", this would be a ReLU autoencoder with most latents active.
        settings |= {"architecture": "topk", "k": arguments["k"]}
    settings.setdefault("reshape_activations", "hook_z" if "hook_z" in str(flat.get("hook_name", "")) else "none")
    normalise = settings.get("normalize_activations")
    if isinstance(normalise, bool) or normalise is None:
        settings["normalize_activations"] = "expected_average_only_in" if normalise else "none"
    rest = {name: value for name, value in flat.items() if name not in OF_THE_WEIGHTS | DROPPED}
    return settings | {"metadata": {"prepend_bos": True} | rest}
