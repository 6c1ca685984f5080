"""Attribution graphs: what feeds what among active latents, errors, tokens and targets, pruned by influence."""
