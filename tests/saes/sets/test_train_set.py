"""Sets trained from one harvest or stream: each dictionary is the one trained alone, whatever interrupts the set."""

from __future__ import annotations

import signal
from functools import partial

import pytest
import torch

import saes
from interp import cache
from interp.errors import UsageError
from saes.runs import checkpoint, plan
from saes.runs.settings import Data, Run, Settings
from saes.runs.stop import Stopped
from saes.sets.hooks import Ends, resolve
from tests import models

TRANSCODER = saes.Config(width=24, k=4, steps=12, batch_size=32, lr=3e-3, variant="transcoder", dead_after=5)
OFTEN = Run(checkpoint_every=5)
IDS = models.tokens(40, 12)


@pytest.fixture(scope="module")
def model():
    return models.load("llama")


@pytest.fixture(scope="module")
def hooks(model):
    return tuple(f"blocks.{layer}.{end}" for layer in range(3) for end in ("mlp.hook_in", "hook_mlp_out"))


@pytest.fixture(scope="module")
def store(model, hooks, tmp_path_factory):
    config = cache.Config((*hooks, "blocks.1.hook_resid_post"), context=12)
    return cache.harvest(model, IDS, config, tmp_path_factory.mktemp("acts") / "store")


@pytest.fixture(scope="module")
def stream(model, hooks):
    return cache.ModelStream(model, lambda: IDS, hooks, batch_size=32, context=12, buffer=128)


def weights(sae: saes.SAE) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in sae.named_parameters()}


def check_equal(ours: saes.SAE, theirs: saes.SAE) -> None:
    assert weights(ours).keys() == weights(theirs).keys()
    for name, value in weights(ours).items():
        assert torch.equal(value, weights(theirs)[name]), name


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
@pytest.mark.parametrize("kind", ["store", "stream"])
def test_each_dictionary_equals_the_one_trained_alone(architecture, kind, store, stream):
    activations = {"store": store, "stream": stream}[kind]
    config = saes.Config(**{**vars(TRANSCODER), "architecture": architecture})
    made = saes.train_set(config, activations, "blocks.*.mlp")
    assert made.layers == (0, 1, 2)
    for hook, sae in made.items():
        alone = saes.train(config, activations.select((hook, hook.replace("mlp.hook_in", "hook_mlp_out"))))
        check_equal(sae, alone)
    assert not torch.equal(made[made.hooks[0]].W_enc, made[made.hooks[1]].W_enc)
    assert made["blocks.1.mlp.hook_in"].writes == ("blocks.1.hook_mlp_out",)
    assert made["blocks.1.mlp.hook_in"].metadata["model_weights_sha256"]


def test_autoencoders_of_several_hooks(store):
    config = saes.Config(**{**vars(TRANSCODER), "variant": "autoencoder"})
    made = saes.train_set(config, store, ["blocks.*.resid_post", "blocks.[02].hook_mlp_out"])
    assert made.hooks == ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post", "blocks.2.hook_mlp_out")
    check_equal(made[made.hooks[1]], saes.train(config, store.select([made.hooks[1]])))


@pytest.mark.parametrize(
    ("kind", "stopped_at"),
    [
        ("store", ("blocks.0.mlp.hook_in", 7)),
        ("store", ("blocks.2.mlp.hook_in", 9)),
        ("stream", ("blocks.1.mlp.hook_in", 9)),
    ],
)
def test_interrupted_and_resumed_it_ends_as_if_it_was_not(kind, stopped_at, store, stream, tmp_path):
    activations = {"store": store, "stream": stream}[kind]
    train = partial(saes.train_set, TRANSCODER, activations, "blocks.*.mlp", run=OFTEN)
    whole = train(folder=tmp_path / "whole")

    def interrupt(hook, metrics):
        if (hook, metrics["step"]) == stopped_at:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped, match="interrupted at step"):
        train(folder=tmp_path / "cut", progress=interrupt)
    assert not (tmp_path / "cut" / "dictionaries.json").exists()
    with pytest.raises(UsageError, match="resume it, or choose another folder"):
        train(folder=tmp_path / "cut")
    resumed = train(folder=tmp_path / "cut", resume=True)
    for hook in whole:
        check_equal(resumed[hook], whole[hook])
        names = sorted(file.name for file in (tmp_path / "cut" / hook).iterdir())
        assert names == sorted(file.name for file in (tmp_path / "whole" / hook).iterdir())
        assert "checkpoint.safetensors" not in names
    again = train(folder=tmp_path / "cut", resume=True, progress=lambda *_: pytest.fail("it was finished"))
    assert again.entries == whole.entries


def test_killed_between_two_checkpoints_the_runs_wait_for_the_one_furthest_back(stream, tmp_path, monkeypatch):
    train = partial(saes.train_set, TRANSCODER, stream, "blocks.*.mlp", run=OFTEN)
    whole, save, saved = train(folder=tmp_path / "whole"), checkpoint.save, []

    def killed(folder, state):
        if len(saved) == 4:  # the first run is at step 10, the others are at step 5
            raise KeyboardInterrupt
        saved.append(state[1]["step"])
        save(folder, state)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path / "cut")
    assert saved == [5, 5, 5, 10]
    monkeypatch.setattr(checkpoint, "save", save)
    steps = []
    resumed = train(folder=tmp_path / "cut", resume=True, progress=lambda hook, m: steps.append((hook[7], m["step"])))
    assert steps[:4] == [("1", 6), ("2", 6), ("1", 7), ("2", 7)] and ("0", 10) not in steps and ("0", 11) in steps
    for hook in whole:
        check_equal(resumed[hook], whole[hook])


def test_a_plan_counts_every_dictionary(store):
    def planned(hooks, variant="transcoder"):
        config = saes.Config(**{**vars(TRANSCODER), "variant": variant})
        return plan.plan(Settings(config, Data(store=str(store.folder), hooks=hooks)))

    one, three = planned(("blocks.1.mlp",)), planned(("blocks.*.mlp",))
    assert (one.dictionaries, three.dictionaries) == (1, 3)
    assert three.parameters == 3 * one.parameters == 3 * (2 * 24 * 24 + 24 + 24)
    assert three.flops == pytest.approx(3 * one.flops)
    assert three.memory_bytes == one.memory_bytes  # one after another
    across = planned(("blocks.*.mlp",), "crosslayer")
    assert across.dictionaries == 1
    assert across.parameters == 3 * 24 * (24 + 1) + 3 * 24 * 3 * 24 + 3 * 24  # decoders to every layer


def test_a_set_of_another_configuration_is_not_mixed_into_a_folder(store, tmp_path):
    saes.train_set(TRANSCODER, store, "blocks.0.mlp", folder=tmp_path)
    other = saes.Config(**{**vars(TRANSCODER), "k": 5})
    with pytest.raises(UsageError, match="k = 4, but this one has 5"):
        saes.train_set(other, store, "blocks.0.mlp", folder=tmp_path, resume=True)


def test_a_stream_begins_again_at_its_end_and_says_where_it_cannot(stream, model):
    many = saes.Config(**{**vars(TRANSCODER), "steps": 30})  # 440 rows are 13 batches
    made = saes.train_set(many, stream, "blocks.0.mlp")
    check_equal(made["blocks.0.mlp.hook_in"], saes.train(many, stream.select(stream.hooks[:2])))
    short = cache.ModelStream(model, lambda: IDS[:2], stream.hooks, batch_size=32, context=12, buffer=64)
    with pytest.raises(UsageError, match="shorter than a batch"):
        saes.train_set(many, short, "blocks.0.mlp")


def test_patterns_name_hooks():
    known = ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out", "blocks.1.hook_mlp_out", "blocks.1.hook_attn_out")
    assert resolve("blocks.*.mlp", known, "transcoder") == (Ends(known[0], known[1]),)
    assert resolve("blocks.*.mlp", known, "autoencoder") == (Ends(known[1], known[1]), Ends(known[2], known[2]))
    assert resolve(["*attn*", "*.attn"], known, "autoencoder") == (Ends(known[3], known[3]),)
    with pytest.raises(UsageError, match=r'No transcoder fits the hooks "blocks.1.mlp"; the nearest is "blocks.0.mlp"'):
        resolve("blocks.1.mlp", known, "transcoder")
    with pytest.raises(UsageError, match="not a crosscoder"):
        resolve("blocks.*.mlp", known, "crosscoder")
    with pytest.raises(UsageError, match="hooks must be a str or list"):
        resolve(3, known, "transcoder")  # pyright: ignore[reportArgumentType]
