"""Edge scores compared with auto-circuit and circuitkit on a small random GPT-2.

    pip download --no-deps -d wheels auto-circuit==1.0.1 circuitkit==0.2.0 ordered-set vscode-tqdm
    for f in wheels/*.whl; do python -m zipfile -e "$f" peers; done
    python -m benchmarks.edge_peers peers

The peers' wheels are unpacked into one folder and not installed: what they import for tasks, plots and downloads is
not needed for scores, and is replaced by empty modules. Both run on transformer_lens' `HookedTransformer`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import torch

from interp import discovery, tasks
from interp.discovery.graph import Graph
from interp.discovery.masks import masked_run
from interp.discovery.pairs import PairRuns
from interp.model import Model
from interp.tasks import Task
from tests import models

EMPTY = ("blobfile", "datasets", "matplotlib", "tracr", "word2word")
STEPS = 5


class Absent:
    """Finds an empty module for each package that scores do not need."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Return the spec of an empty package."""
        package: Any = name.partition(".")[0]
        return ModuleSpec(name, self, is_package=True) if package in EMPTY else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return a module that has a class of every name."""
        module: Any = ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = _any_class
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing."""


def _any_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def hooked(model: Model) -> Any:
    """Return a `HookedTransformer` with the same weights and separate results of heads."""
    import transformer_lens as tl
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = model.hf.config
    cfg = tl.HookedTransformerConfig(
        n_layers=config.n_layer,
        d_model=config.n_embd,
        n_ctx=config.n_positions,
        d_head=config.n_embd // config.n_head,
        n_heads=config.n_head,
        d_mlp=config.n_inner,
        d_vocab=config.vocab_size,
        act_fn=config.activation_function,
        normalization_type="LN",
        eps=config.layer_norm_epsilon,
        scale_attn_by_inverse_layer_idx=config.scale_attn_by_inverse_layer_idx,
        default_prepend_bos=False,
        device="cpu",
    )
    made = tl.HookedTransformer(cfg)
    made.load_state_dict(convert_gpt2_weights(model.hf, cfg), strict=False)
    for switch in (made.set_use_attn_result, made.set_use_split_qkv_input, made.set_use_hook_mlp_in):
        switch(True)
    return made


def auto_circuit(model: Any, task: Task, graph: Graph) -> dict[str, np.ndarray]:
    """Return its gradient of the mask at 0, and the sum of those at 0, 1/4, …, 1."""
    import transformer_lens as tl

    module: Any = ModuleType("transformer_lens.past_key_value_caching")  # where older versions have the class
    module.HookedTransformerKeyValueCache = type("HookedTransformerKeyValueCache", (), {})
    sys.modules[module.__name__] = module
    vars(tl).setdefault("HookedTransformerKeyValueCache", module.HookedTransformerKeyValueCache)
    data, graphs, types = (
        importlib.import_module(f"auto_circuit.{name}") for name in ("data", "utils.graph_utils", "types")
    )
    score = importlib.import_module("auto_circuit.prune_algos.mask_gradient").mask_gradient_prune_scores
    batch = data.PromptPairBatch(0, 0, task.clean, task.counterfactual, task.right[:, None], task.wrong[:, None])
    patched = graphs.patchable_model(model, factorized=True, slice_output="last_seq", separate_qkv=True)

    def scores(**how: Any) -> np.ndarray:
        for wrapper in patched.dest_wrappers:
            wrapper.patch_mask.grad = None
        result = score(patched, [batch], None, "logit", "avg_diff", ablation_type=types.AblationType.RESAMPLE, **how)
        by_name = {_ours(e.src.name, e.dest.name): result[e.dest.module_name][e.patch_idx] for e in patched.edges}
        return -np.array([float(by_name[edge]) for edge in graph.edges])

    return {"eap": scores(mask_val=0.0), "gradients of masks": scores(integrated_grad_samples=STEPS - 1)}


def _ours(writer: str, reader: str) -> str:
    """Return our name of an edge: "A0.3" and "A1.2.Q" are L0H3 and L1H2.q."""
    names = {"Resid Start": "embed", "Resid End": "logits"}
    if writer.startswith("A"):
        writer = "L{}H{}".format(*writer[1:].split("."))
    if reader.startswith("A"):
        reader = "L{}H{}.{}".format(*reader[1:].lower().split("."))
    writer, reader = (names.get(name, name.replace("MLP ", "MLP")) for name in (writer, reader))
    return f"{writer} → {reader}"


def circuitkit(model: Any, task: Task, graph: Graph) -> dict[str, np.ndarray]:
    """Return its EAP, and its EAP-IG (inputs), whose steps end at the clean run."""
    for name in ("circuitkit", "circuitkit.backends", "circuitkit.backends.eap"):
        package: Any = ModuleType(name)  # without what the package does when it is imported
        package.__path__ = [f"{folder}/{name.replace('.', '/')}" for folder in sys.path]
        sys.modules[name] = package
    attribute, graphs = (importlib.import_module(f"circuitkit.backends.eap.{name}") for name in ("attribute", "graph"))
    masks = torch.ones_like(task.clean)
    given = (task.clean, task.counterfactual, masks, masks, task.end + 1, task.clean.shape[1])
    attribute.tokenize_batch_pair = lambda *_, **__: given

    def measure(logits: torch.Tensor, *_: Any) -> torch.Tensor:
        return task.measure(logits).sum()

    def scores(method: str) -> np.ndarray:
        theirs = graphs.Graph.from_model(model)
        data = [(list(range(len(task))), list(range(len(task))), None)]
        attribute.attribute(model, theirs, data, measure, method=method, ig_steps=STEPS, quiet=True)
        by_name = {_from_mib(name): float(edge.score) for name, edge in theirs.edges.items()}
        return np.array([by_name[edge] for edge in graph.edges])

    return {"eap": scores("EAP"), "eap-ig-inputs": scores("EAP-IG-inputs")}


def _from_mib(edge: str) -> str:
    """Return our name of the edge "a0.h3->a1.h2<q>"."""
    names = {"input": "embed", "logits": "logits"}
    ends = []
    for end in edge.split("->"):
        name, _, branch = end.rstrip(">").partition("<")
        name = names.get(name, name.replace("a", "L").replace(".h", "H").replace("m", "MLP"))
        ends.append(f"{name}.{branch}" if branch else name)
    return " → ".join(ends)


def gradients_of_masks(model: Model, task: Task, graph: Graph) -> np.ndarray:
    """Return the sum over five masks of the gradient of the measure in the mask.

    A mask has one value for all edges.
    """
    runs, total = PairRuns(model, graph, task), np.zeros(graph.n_edge)
    for k in range(STEPS):
        mask = torch.full((graph.n_edge,), k / (STEPS - 1), requires_grad=True)
        masked_run(runs, mask).mean().backward()
        assert mask.grad is not None
        total += mask.grad.numpy()
    return total


def main() -> None:
    """Print each method's largest difference to each peer."""
    parser = argparse.ArgumentParser(description="Edge scores against auto-circuit and circuitkit.")
    parser.add_argument("folder", help="where the peers' wheels are unpacked")
    sys.path.append(parser.parse_args().folder)
    sys.meta_path.append(Absent())  # type: ignore[arg-type]
    warnings.simplefilter("ignore")
    model = models.load("gpt2")
    task, graph = tasks.induction(model, n=3, seed=0, length=6), Graph.of(model.spec, grouped=False)
    ours: dict[str, Callable[[], np.ndarray]] = {
        "eap": lambda: discovery.score(model, task, "eap", grouped=False).array,
        "eap-ig-inputs": lambda: (
            discovery.score(model, task, "eap-ig-inputs", grouped=False, steps=STEPS, rule="right").array
        ),
        "gradients of masks": lambda: gradients_of_masks(model, task, graph),
    }
    for peer in (auto_circuit, circuitkit):
        for method, theirs in peer(hooked(model), task, graph).items():
            mine = ours[method]()
            error = np.abs(mine - theirs).max()
            comparison = f"largest difference {error:.1e}, largest score {np.abs(mine).max():.3f}"
            print(f"{peer.__name__}, {method}: {graph.n_edge} edges, {comparison}")


if __name__ == "__main__":
    main()
