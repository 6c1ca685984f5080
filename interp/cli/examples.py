"""`interp examples`: the texts of a store in which a direction is strongest."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from interp.cli import options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError, with_article

HELP = "find the texts of a store in which a direction is strongest, compared with a random direction"
EXAMPLE = "interp examples out/acts out/probe/best --hook blocks.15.hook_resid_post --out out/examples"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the store, the directions, and where the report goes."""
    parser.add_argument("store", metavar="STORE", help="a store of activations (interp cache run)")
    text = (
        "a .npy file with one vector, the folder of a saved probe or steering vector, or FOLDER:17 for the encoder "
        "row of latent 17 of an autoencoder"
    )
    parser.add_argument("directions", metavar="DIRECTION", nargs="+", help=text)
    parser.add_argument("--hook", metavar="NAME", help="the hook of the store, if it has several")
    text = "examples of each direction (default: 20)"
    parser.add_argument("--k", type=options.positive, default=20, metavar="N", help=text)
    options.add_out(parser, "out/examples", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)
    options.add_model(parser, default=None)


def run(args: Namespace) -> int:
    """Rank the rows, save, report."""
    from analyses import examples
    from interp import cache
    from interp.model import load

    with output_folder(args.out) as folder:
        store = cache.Store.open(args.store)
        directions = {name: direction(name) for name in args.directions}
        known = store.manifest.model
        model = load(args.model or known["model"], dtype=known.get("dtype", "float32"), device=args.device)
        result = examples.run(model, store, directions, args.k, hook=args.hook, seed=args.seed, command=args.command)
        deliver(result, folder, args)
    return 0


def direction(name: str) -> Any:
    """Load a direction from a file.

    An array, a probe, or a steering vector.

    Raises `UsageError` for a name that is none of these, and the errors of what reads it.
    """
    path, _, latent = name.rpartition(":")
    if path and latent.isdigit():
        return _latent(path, int(latent))
    if name.endswith(".npy"):
        return _array(name)
    from interp import results

    result = results.load(Path(name))
    if type(result).__name__ == "SavedProbe":
        import probes

        return probes.load(name)
    if not hasattr(result, "direction"):
        kind = with_article(type(result).__name__)
        raise UsageError(f"{name} holds {kind}, which has no direction: give a probe or a steering vector")
    return result


def _latent(folder: str, latent: int) -> Any:
    import saes

    sae = saes.load(folder)
    if latent >= sae.width:
        raise UsageError(f"{folder} has no latent {latent}: its latents are 0 to {sae.width - 1}")
    return sae.W_enc[:, latent].detach()


def _array(name: str) -> Any:
    import numpy as np

    try:
        return np.load(name, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} is not a saved array: {error}") from error
