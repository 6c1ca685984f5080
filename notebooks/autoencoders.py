# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A dictionary for layer 10
#
# A sparse autoencoder rewrites each activation of a model as a sum of a few directions out of many. This notebook
# trains a small one on SmolLM2-135M, judges it on text it has not seen, saves it in the format of SAELens, reads it
# back, and looks at what its directions (latents) fire on. Everything is small so that it takes a minute or two;
# `interp sae train` and `interp sae evaluate` do the same at any size.

# %%
import itertools
import tempfile
from pathlib import Path

import torch

import interp
import saes
from analyses import dictionary
from interp import cache

folder = Path(tempfile.mkdtemp())
model = interp.load("smollm2")
hook = "blocks.10.hook_resid_post"

# %% [markdown]
# ## Activations
#
# The text is what every Python installation has: its documentation strings. The first position of each context is left
# out: models park an enormous vector there whatever the token is.

# %%
text = list(itertools.islice(cache.documents("python-docs"), 60))
config = cache.Config(hooks=(hook,), context=64, max_tokens=16_000)
seen = cache.harvest(model, text[:40], config, folder / "seen")
unseen = cache.harvest(model, text[40:], cache.Config(hooks=(hook,), context=64, max_tokens=4_000), folder / "unseen")
len(seen), len(unseen), round(seen.scale, 4)

# %% [markdown]
# ## Training
#
# 1,024 latents for 576 numbers, 32 of them on at a time.

# %%
about = {"model_name": "smollm2", "hook_name": hook, "token_sha256": seen.manifest.token_sha256}
sae = saes.train(
    saes.Config(architecture="topk", width=1024, k=32, steps=250, batch_size=512, lr=2e-3, seed=0), seen, metadata=about
)
{name: round(float(values[-1]), 4) for name, values in sae.history.items()}

# %% [markdown]
# ## Judging
#
# FVU is the fraction of variance left unexplained. It is compared with other ways to write the same activations with as
# many directions at a time, and what the model's loss becomes when it runs on the reconstructions. After so little
# training a classical dictionary (MOD), learned from a few thousand rows, is about as good.

# %%
evaluation = saes.evaluate(sae, unseen, model=model, contexts=unseen.contexts(0, 8))
print(evaluation.summary())
evaluation.baseline_table()

# %% [markdown]
# ## Saved and read back
#
# The folder is one that SAELens reads (`SAE.load_from_disk`), and what is read back is the same autoencoder.

# %%
again = saes.load(sae.save(folder / "sae"))
rows = unseen.tensor(hook, 0, 256).float()
torch.equal(again(rows), sae(rows))

# %% [markdown]
# ## What latents stand for
#
# The latents that carry most variance, with the tokens they fire on most strongly and those they raise directly. With
# so little text most are rough. `study.page()` is the whole report.

# %%
study = dictionary.run(again, unseen, text=seen, model=model, config=dictionary.Config(name="notebook", judge=False))
latents = study.features.ranked()[:8].tolist()
for latent in latents:
    raised = [token for token, _ in study.features.promoted(latent)[:4]]
    print(latent, study.features.words(latent), raised)

# %% [markdown]
# ## What this notebook claims

# %%
fvu = evaluation.score("fvu")
others = {baseline.name: baseline.fvu for baseline in evaluation.baselines[1:]}
assert fvu.high is not None
assert all(fvu.high < value for name, value in others.items() if name.startswith(("random", "principal")))
assert evaluation.score("loss_reconstruction").value < evaluation.score("loss_mean").value
assert torch.equal(again(rows), sae(rows))
assert again.metadata["hook_name"] == hook
fired = study.features.fired[latents]
assert (fired > 10).all()
print(f"FVU {fvu.value:.3f} ({fvu.low:.3f} to {fvu.high:.3f}) against {others}")
