# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Five features in two dimensions
#
# A model with two hidden dimensions must store five features. When features are dense it keeps the two most important
# and drops the rest; when they are sparse it stores more than it has dimensions for, in *superposition*. Here many
# small models are trained at once, judged by their exact loss, and compared with closed forms. `interp toy geometry`
# writes the same as a page; `interp toy all` reproduces the paper's other figures (arXiv 2209.10652).

# %%
import numpy as np
import torch

from analyses.superposition.directions import stars
from interp import toy
from saes import coding

# %% [markdown]
# ## Train a grid
#
# Three densities (the probability that a feature is active) times eight starts are one batched product. Every instance
# is bit-identical to the same instance trained alone.

# %%
config = toy.Config(features=5, hidden=2, density=(1.0, 0.4, 0.05), starts=8, steps=3000)
trained = toy.train(config)
best = trained.best()
trained.loss.round(4)  # exact expected loss, (densities, starts): single starts do get stuck

# %% [markdown]
# ## See where features went

# %%
stars(
    "arrangement",
    {f"density {p:g}": toy.canonical(w) for p, w in zip(trained.density[:, 0], best.features, strict=True)},
    caption="Feature directions in the hidden plane, best start of each density.",
    alt="Four features in two opposite pairs, then five as a pentagon.",
)

# %% [markdown]
# ## Count dimensions
#
# The dimensionality of a feature is the share of a dimension it has for itself: 1/2 in an antipodal pair, 2/5 in a
# pentagon. The shares never sum to more than the rank of W; here they use up both dimensions.

# %%
toy.dimensionality(best.features).round(3)

# %% [markdown]
# ## Compare with theory
#
# For two features in one dimension all arrangements have closed-form losses. They cross at a density of 4/7.

# %%
two = toy.train(toy.Config(2, 1, density=(0.9, 0.3, 0.05), starts=4, steps=2000, batch_size=256, lr=1e-2))
theory = [toy.theory_loss(p, i, 1) for p, i in zip(two.density, two.importance, strict=True)]
[(float(p), round(loss / low, 4), best_in_theory) for p, loss, (low, best_in_theory) in zip(
    two.density[:, 0], two.best().loss, theory, strict=True)]  # fmt: skip

# %% [markdown]
# ## Read features back
#
# Superposed features are a dictionary with more atoms than dimensions. Orthogonal matching pursuit recovers what was
# active, as long as few are active at once; a random dictionary does not.

# %%
generator = torch.Generator().manual_seed(0)
dictionary = coding.packed_dictionary(64, 32, generator=generator, dtype=torch.float64)
active = (torch.rand(1000, 64, generator=generator) < 0.03) * (0.5 + torch.rand(1000, 64, generator=generator))
hidden = active.double() @ dictionary
lowest = {
    "true": coding.omp(hidden, dictionary, 8, tolerance=1e-6),
    "random": coding.omp(hidden, coding.random_dictionary(64, 32, generator=generator, dtype=torch.float64), 8),
}
exact = {name: float(((f.abs() > 1e-6) == (active > 0)).all(1).double().mean()) for name, f in lowest.items()}
exact  # fraction of inputs whose active features are all found, and no others

# %%
# What this notebook claims.
assert toy.represented(best.features[2]) == 5
assert np.abs(toy.gaps(best.features[2]) - 72).max() < 1.5
assert toy.represented(best.features[1]) == 4
assert (toy.dimensionality(best.features).sum(1) <= 2 + 1e-5).all()
assert all(0.9 < loss / low < 1.02 for loss, (low, _) in zip(two.best().loss, theory, strict=True))
assert exact["true"] > 0.9
# An input with nothing active is "found" by any dictionary: about 0.97^64 = 14 % of them.
assert exact["random"] < 0.2
