# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One induction head, from weights to effect
#
# SmolLM2 continues a sequence it has seen before. Which of its 270 heads make that possible, what do their weights say,
# and what is lost without them? `interp circuits` writes the same findings as a page, for every head.

# %%
import numpy as np
import torch

import interp
from interp import circuits

torch.set_grad_enabled(False)
model = interp.load("smollm2")

# %% [markdown]
# ## Who attends to what followed the last time?
#
# Random tokens are repeated once. An induction head looks from a token to what came after its earlier copy. Scores are
# fractions of the attention the model itself computes, with 95 % intervals over the texts; attention spread evenly
# would score 0.03.

# %%
scores = circuits.head_scores(model, n_text=8)
named = scores.named("induction")
named

# %% [markdown]
# ## Do the factors give what the head computes?
#
# The strongest of them, rebuilt from its query-key factors: score(i, j) = q · R(i − j) k, with norms, rotation and
# shared keys inside, against what the model's own softmax gave. The largest difference:

# %%
layer, head = (int(part) for part in named[0][0][1:].split("H"))
tokens = model.to_tokens("one two three four five, one two three four")
hook = f"blocks.{layer}.hook_resid_pre"
_, cache = model.run_with_cache(tokens, [hook])
looks = circuits.qk(model, layer, head)
ours = looks.pattern(cache[hook])[0]

from interp.circuits.attention_hooks import stacked_patterns

theirs = stacked_patterns(model, tokens)[layer, 0, head]
error = float((ours - theirs).abs().max())
error

# %% [markdown]
# ## Is its attention a similarity?
#
# If the query-key map were positive semidefinite, attention would be a similarity of tokens. It is not: as many
# directions repel as attract.

# %%
looks.signature, round(looks.symmetric_fraction, 3), round(looks.positive_share, 3)

# %% [markdown]
# ## Who writes what it reads?
#
# K-composition with every earlier head, against the same heads rotated at random. Second is L16H0, the strongest
# previous-token head of the model: the other half of the induction circuit, found in the weights alone.

# %%
keys = circuits.composition(model, "K")
reader = layer * model.spec.n_head + head
order = np.argsort(-np.where(keys.possible[:, reader], keys.array[:, reader], 0))[:5]
writers = [(keys.labels[i], round(float(keys.array[i, reader]), 3)) for i in order]
previous = scores.named("previous", "natural")[0][0]
writers, keys.baseline, previous

# %% [markdown]
# ## What does it do with what it finds?
#
# Its copying score is positive: attending to a token tends to raise that token. And it matters: without the five
# strongest induction heads the loss on repeated text rises by nats, without five others of the same layers by a
# fraction of one.

# %%
moves = circuits.ov(model, layer, head)
cut = circuits.ablate_induction(model, scores, n_controls=4, length=15)
print(f"copying {moves.copying_score:+.2f}; without {', '.join(cut.heads)}: {cut.effect:+.2f} nats")
np.sort(cut.control).round(2)

# %% [markdown]
# ## What this notebook claims

# %%
# The head is an induction head, and its pattern is that of its factors.
assert named[0][0] == "L18H6"
assert named[0][2] > 0.8
assert error < 1e-5

# Its query-key map is as far from a metric as a map can be in signature.
assert looks.signature == (64, 64)

# The strongest previous-token head is among the two it reads most, three times what random rotations would give.
assert previous in {name for name, _ in writers[:2]}
assert writers[1][1] > 3 * keys.baseline[0]

# It copies, and taking the five away costs more than any of the random sets.
assert moves.copying_score > 0.2
assert cut.effect > 3 * np.abs(cut.control).max()
assert cut.effect > 10 * np.median(np.abs(cut.control))
