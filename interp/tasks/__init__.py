"""Tasks: pairs of clean and counterfactual prompts with right and wrong answers.

They are generated offline from a seed, for any tokenizer, or read from a file by `tasks.read`.

>>> task = tasks.ioi(lm, n=2, seed=0)
>>> print(task.labels[0])
As Karen and Tim sat in the market, Tim showed a map to → Karen / Tim

Names are imported when first used, so that a saved score loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.tasks.catalogue import (
        country_capital as country_capital,
        docstring as docstring,
        gendered_pronoun as gendered_pronoun,
        greater_than as greater_than,
        ioi as ioi,
        key_value as key_value,
        make as make,
        names as names,
        subject_verb as subject_verb,
        successor as successor,
    )
    from interp.tasks.pair_files import read as read
    from interp.tasks.pairs import Pair as Pair, Pairs as Pairs
    from interp.tasks.repeats import induction as induction
    from interp.tasks.score import TaskScore as TaskScore
    from interp.tasks.task import Task as Task, log_odds as log_odds

attach(__name__)
