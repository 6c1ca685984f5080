# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why does SmolLM2 say " Paris"?
#
# SmolLM2-135M continues *The Eiffel Tower is located in the city of* with " Paris". This notebook asks which parts of
# the model make it " Paris" rather than " London", with the API alone. `interp explain` writes the same findings as a
# page.

# %%
import numpy as np
import torch

import interp
from interp import attribution

model = interp.load("smollm2", dtype=torch.float64)
prompt = "The Eiffel Tower is located in the city of"
tokens = model.to_tokens(prompt)
words = model.to_str_tokens(prompt)
words

# %% [markdown]
# ## Do we hold the model right?
#
# Everything below is computed from the weights of single heads. `check` recomputes the logits of a few prompts from
# those weights alone and compares them with the model's own.

# %%
check = interp.check(model)
check

# %% [markdown]
# ## When does the model know?
#
# The logit lens reads the residual stream after each block as if it were the last. The rank of " Paris" among all 49152
# tokens (0 is the likeliest) stays in the thousands for two thirds of the model.

# %%
lens = attribution.logit_lens(model, tokens, [" Paris", " London"])
rank = lens.ranks[:, -1, 0]  # of " Paris", after the embedding and after each block, at the last token
dict(zip(lens.labels[-9:], rank[-9:].tolist(), strict=True))

# %% [markdown]
# ## Who says it?
#
# With the scale of the last norm frozen at its value on this prompt, the logit difference is a sum with one term for
# the embedding, one for each head and one for each MLP. It is the whole difference: and has the error of the sum.

# %%
frozen = attribution.freeze(model, tokens)
target = attribution.logit_difference(model, " Paris", " London")
direct = attribution.direct(frozen, target)
print(f"{direct.total:.10f} {direct.unit}, relative error {direct.error:.0e}")
direct.top(6)

# %% [markdown]
# Two heads of the last layer, L29H0 and L29H1, nearly cancel. After them comes L23H4, in the very block after which the
# lens saw " Paris" rise.
#
# ## What does that head look at?

# %%
name = "blocks.23.attn.hook_pattern"
_, cache = model.run_with_cache(tokens, [name])
looks = cache[name][0, 4, -1]
dict(zip(words, np.round(looks.numpy(), 3).tolist(), strict=True))

# %% [markdown]
# ## The control
#
# Were L23H4 a head that favours " Paris" whatever it reads, it would do so here too.

# %%
other = model.to_tokens("The old bridge is located in the city of")
control = attribution.direct(attribution.freeze(model, other), target)
print(f"with the tower {direct.by_head()[23, 4]:+.2f}, without it {control.by_head()[23, 4]:+.2f} logits")

# %% [markdown]
# ## What this notebook claims

# %%
logits = model(tokens)[0, -1]
paris, london = (model.to_single_token(word) for word in (" Paris", " London"))
difference = float(logits[paris] - logits[london])

# The model says it, and the weights we hold are the model's (float64: rounding alone, three digits to spare).
assert int(logits.argmax()) == paris
assert max(check.errors) < 1e-11

# The contributions sum to the model's own logit difference.
assert abs(difference - 8.76) < 0.005
assert abs(float(direct.values.sum()) - difference) < 1e-10 * abs(difference)

# Unknown before block 23, the answer after the last.
assert rank[:23].min() > 1000
assert rank[24] < 200
assert rank[-1] == 0

# L23H4 is the largest head outside the last layer, looks at the tower, and is silent without it.
heads = np.abs(direct.by_head())[:29]
assert np.unravel_index(heads.argmax(), heads.shape) == (23, 4)
assert words[int(looks.argmax())] in {" E", "iffel", " Tower"}
assert abs(control.by_head()[23, 4]) < direct.by_head()[23, 4] / 4
