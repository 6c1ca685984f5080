# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Along which paths does " Paris" come about?
#
# A component's direct contribution says who speaks last, not where the word comes from. Hold attention patterns, norm
# scales and MLP gates at one prompt, and the model is exactly linear in its embeddings: a logit is then a sum over
# every chain of components from the prompt to the answer. This notebook walks from the frozen prompt to single paths,
# to the attention score behind one of them, and to the question whether any of it is causal.

# %%
import numpy as np
import torch

import interp
from interp import attribution

model = interp.load("smollm2", dtype=torch.float64)
tokens = model.to_tokens("The Eiffel Tower is located in the city of")
words = model.to_str_tokens("The Eiffel Tower is located in the city of")
frozen = attribution.freeze(model, tokens)
target = attribution.logit_difference(model, " Paris", " London")
print(f"the frozen prompt misses the model's logits by {frozen.error:.1e} of the largest")

# %% [markdown]
# ## Which tokens does it come from?
#
# Over all paths at once: every token's embedding times the target's covector carried back to it. The sum is the logit
# difference. " Paris" comes from *The* (a token every head can park its attention on) and *iffel*.

# %%
sources = attribution.sources(frozen, target)
for word, value in zip(words, sources.by_token(), strict=True):
    print(f"{word!r:12} {value:+.3f}")
print(f"{'sum':12} {sources.total:+.6f}, the model's own {sources.value:+.6f}")

# %% [markdown]
# ## How long are the paths?
#
# The same number by how many components a path passes through. Order 0 is the embedding read straight by the
# unembedding; long paths cancel.

# %%
orders = attribution.orders(frozen, target, max_order=6)
for label, value in zip(orders.labels, orders.array, strict=True):
    print(f"{label:>10} {value:+9.3f}")

# %% [markdown]
# ## The largest paths
#
# The tree grows from the target to the embeddings, the largest node first; a node is the sum of its children, and what
# is not expanded stays in the tree as a remainder. The coverage says how much absolute mass the list leaves unseen:
# nearly all of it, because thousands of small paths cancel. No single path is the explanation.

# %%
tree = attribution.path_tree(frozen, target, max_expansions=500)
for path in tree.paths(8):
    print(path)
print(f"coverage of these 8: {tree.coverage(8):.1%} of a mass of {tree.mass:.0f}; total {tree.total:+.6f}")

# %% [markdown]
# ## Why does L23H4 attend to *iffel*?
#
# Its score is a sum over pairs: the output of one component at *of* times that of another at *iffel*. With the query
# fixed, the score is linear in the key, and has a path tree of its own.

# %%
at, iffel = len(words) - 1, words.index("iffel")
scores = attribution.scores(frozen, 23, 4, at, iffel)
by_key = sorted(zip(scores.writers, scores.by_key(), strict=True), key=lambda item: -abs(item[1]))
print(scores.target, f"{scores.total:+.4f}; through the key:")
print([(name, round(float(value), 2)) for name, value in by_key[:5]])
key_tree = attribution.path_tree(frozen, attribution.score(frozen, 23, 4, at, iffel, side="key"), 200)
for path in key_tree.paths(3):
    print(path)

# %% [markdown]
# ## Cutting the paths
#
# All of the above is bookkeeping at one prompt. `verify` cuts each path for real: it replaces what the path's first
# component wrote, in its reader alone, and lets norms, patterns and gates respond. The order of effects is predicted
# far better than chance; their sizes are not, because the responses are left out of the bookkeeping.

# %%
cuts = attribution.verify(model, tree, 20, frozen=frozen)
print(f"rank correlation {cuts.correlation:+.2f}; by chance below {cuts.by_chance:.2f} in 95 of 100 cases")

# %% [markdown]
# ## What was claimed, checked

# %%
assert frozen.error < 1e-9
assert abs(sources.total - sources.value) < 1e-11
assert abs(sources.value - 8.76235371) < 1e-8
assert np.allclose(orders.by_token.sum(0), sources.by_token())
assert tree.paths(1)[0].components == ("L23H4@of", "MLP0@iffel", "embed@iffel")
assert abs(tree.total - sources.value) < 1e-9
assert scores.error < 1e-9 and abs(key_tree.total - scores.value) < 1e-9
assert cuts.correlation > cuts.by_chance
