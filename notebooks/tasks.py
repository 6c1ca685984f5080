# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Twelve everyday tasks, each in at most five lines
#
# What a week of work with a model asks for, done with the documented API: attribute, patch, probe, train and open an
# autoencoder, edit, steer, compare, average, and look up where a direction is strong. Sizes are small so that the
# notebook runs in seconds.

# %%
import itertools
import tempfile
from pathlib import Path

import torch
import transformers

import interp
import probes
import saes
from analyses import completions
from interp import attribution, cache, edit, patching, steering, tasks

folder = Path(tempfile.mkdtemp())
model = interp.load("smollm2")
prompt = "The Eiffel Tower is located in the city of"

# %% [markdown]
# ## Which components and paths answer an IOI prompt?

# %%
pairs = tasks.ioi(model, n=8, seed=0)
target = attribution.logit_difference(model, int(pairs.right[0]), int(pairs.wrong[0]))
frozen = attribution.freeze(model, pairs.clean[0])
direct, tree = attribution.direct(frozen, target), attribution.path_tree(frozen, target, 100)
direct.top(3), tree.paths(2)

# %% [markdown]
# ## What comes back when part of one run is put into another?

# %%
patched = patching.patch(model, pairs[:2], what="z", by=("layer", "head"), layers=(17, 18, 23))
patched.top(3)

# %% [markdown]
# ## Does a probe read it?

# %%
data = probes.generate("cities").take(range(200))
acts = probes.collect(model, data, layers=(13,))
probe = probes.MassMean().fit(acts.at(13), data.labels)
round(float(probe.score(acts.at(13), data.labels)), 3)

# %% [markdown]
# ## Train an autoencoder on text of one's own, and change one of its latents

# %%
hook = "blocks.12.hook_resid_post"
text = itertools.islice(cache.documents("python-docs"), 6)
store = cache.harvest(model, text, cache.Config(hooks=(hook,), context=64, max_tokens=2500), folder / "acts")
config = saes.Config(architecture="topk", width=512, k=16, steps=40, batch_size=256, lr=2e-3, seed=0)
sae = saes.train(config, store, metadata={"model_name": "smollm2", "hook_name": hook})

# %%
clamped = model.edited(edit.latent(sae, 7, set=40.0))
model.generate(prompt, max_tokens=5), clamped.generate(prompt, max_tokens=5)

# %% [markdown]
# ## A SAELens folder, there and back

# %%
again = saes.load(sae.save(folder / "sae"))
rows = store.tensor(hook, 0, 512).float()
float(((again(rows) - rows) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum())

# %% [markdown]
# ## Ablate a head by its mean, zero an MLP, steer, and read the texts side by side

# %%
v = steering.vector(model, ["It was a delight.", "It is superb."], ["It was a torment.", "It is ghastly."], layer=15)
head = [edit.mean("blocks.23.attn.hook_z", pairs, head=4)]
sets = {"head": head, "MLP": [edit.zero("blocks.0.hook_mlp_out")], "steered": [v.edit(0.4)]}
written = completions.run(model, [prompt, "In my opinion the film is"], sets, max_tokens=5)
written.table()

# %% [markdown]
# ## Compare two prompts

# %%
capital = attribution.logit(model, " Paris")
other = model.to_tokens("The Tower Bridge is located in the city of")
ours, theirs = (attribution.freeze(model, ids) for ids in (model.to_tokens(prompt), other))
difference = attribution.direct(ours, capital) - attribution.direct(theirs, capital)
paths = attribution.path_tree(ours, capital, 100) - attribution.path_tree(theirs, capital, 100)

# %% [markdown]
# ## Another family, given as an object

# %%
shape = dict(n_embd=32, n_layer=2, n_head=4, vocab_size=100, bos_token_id=0, eos_token_id=0)
gpt2 = interp.load(transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape)))
check = interp.check(gpt2, [torch.arange(8)[None]])
max(check.errors)

# %% [markdown]
# ## What writes along a probe's direction, or a latent's?

# %%
along = attribution.direction(model, torch.as_tensor(probe.direction_).flatten(), layer=13)
latent = attribution.direction(model, sae.W_enc[:, 7], layer=12)
made = [attribution.direct(ours, one) for one in (along, latent)]
[one.top(2) for one in made]

# %% [markdown]
# ## The mean over many prompts, with its interval

# %%
averaged = attribution.over(model, pairs[:4], "direct")
averaged.table(5)

# %% [markdown]
# ## Where is a direction strong in a text?

# %%
examples = cache.top_examples(store, sae.W_dec[7], k=5, model=model)
examples.table()

# %% [markdown]
# ## What this notebook claims

# %%
# Decompositions sum to the model's own values (float32), on single prompts, on differences and on average.
assert direct.error < 1e-4 and tree.error < 1e-4
assert abs(difference.total - difference.value) < 1e-3
assert abs(averaged.total - averaged.values.mean()) < 1e-3
assert all(one.error < 1e-4 for one in made)
assert max(check.errors) < 1e-5

# Edits change the text they should, and the loaded autoencoder is the one that was saved.
assert written.changed("MLP") == 2
assert torch.equal(again(rows), sae(rows))

# The strongest examples lie far beyond what is usual.
assert (examples.values[0] - examples.mean) / examples.deviation > 3
