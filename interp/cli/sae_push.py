"""`interp sae push`: write the model card of an autoencoder, and upload it to Hugging Face."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from interp.cli import console

if TYPE_CHECKING:
    from saes import Evaluation

HELP = "write the model card of an autoencoder, and with --upload send both to Hugging Face"
EXAMPLE = "interp sae push out/sae --repo me/smollm2-layer-10"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the folder, the repository, and whether anything leaves this machine."""
    parser.add_argument("folder", metavar="FOLDER", help="folder of an autoencoder, where README.md is written")
    parser.add_argument("--repo", metavar="OWNER/NAME", required=True, help="repository; created if it does not exist")
    text = "upload the files; needs a token (HF_TOKEN, or hf auth login). Without this option nothing is sent"
    parser.add_argument("--upload", action="store_true", help=text)
    parser.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    text = "result folder of interp sae evaluate, whose measures are written into the card"
    parser.add_argument("--evaluation", metavar="DIR", help=text)


def run(args: Namespace) -> int:
    """Write the card and upload it if asked.

    Prints what was or would be sent.
    """
    from saes.interop.push import push

    evaluation = _evaluation(args.evaluation) if args.evaluation else None
    done = push(args.folder, args.repo, upload=args.upload, evaluation=evaluation, private=not args.public)
    if args.json:
        files = dict(done.files)
        console.write_json({"folder": args.folder, "repo": done.repo, "files": files, "uploaded": done.uploaded})
        return 0
    if not args.quiet:
        console.write(str(done))
    console.write(f"https://huggingface.co/{done.repo}" if done.uploaded else str(Path(args.folder) / "README.md"))
    return 0


def _evaluation(folder: str) -> Evaluation:
    """Return the evaluation of a saved study; raise `UsageError` for another result."""
    from interp import results
    from interp.errors import UsageError
    from saes import Evaluation

    result = results.load(folder)
    evaluation = result if isinstance(result, Evaluation) else getattr(result, "evaluation", None)
    if not isinstance(evaluation, Evaluation):
        raise UsageError(f"{folder} has no evaluation of an autoencoder: give a folder of interp sae evaluate.")
    return evaluation
