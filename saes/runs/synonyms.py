"""Names of a run's keys in other libraries.

Plain values, which the command line reads too.
"""

from __future__ import annotations

SYNONYMS = {
    "learning_rate": "sae.lr",
    "d_sae": "sae.width",
    "dict_size": "sae.width",
    "n_latents": "sae.width",
    "topk": "sae.k",
    "train_batch_size_tokens": "sae.batch_size",
    "batch": "sae.batch_size",
    "n_steps": "sae.steps",
    "l1_coefficient": "sae.sparsity",
    "l0_coefficient": "sae.sparsity",
    "l1": "sae.sparsity",
    "normalize": "sae.normalise",
    "hook_name": "data.hook",
    "hook_point": "data.hook",
    "model_name": "data.model",
    "context_size": "data.context",
    "dataset": "data.text",
    "dataset_path": "data.text",
    "text_column": "data.column",
    "training_tokens": "data.max_tokens",
    "wandb_project": "run.wandb",
    "log_to_wandb": "run.wandb",
}
"""What other libraries call a key, and its name here."""
