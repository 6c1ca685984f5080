"""`interp sae features`: the inputs, effects and inhibitors of an autoencoder's latents."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import Any

from interp.cli import console, options
from interp.cli.deliver import output_folder, save
from interp.cli.sae_evaluate import add_sources
from interp.errors import MissingInputError

HELP = "show examples, effects and inhibitors of latents: all, chosen ones, or those that match a word"
EXAMPLE = "interp sae features runs/x --search import --out out/features"

PRINTED = 5
"""Number of cards that are printed if no latent is named."""
MOST_MATCHES = 200
"""Largest number of latents shown that match a word."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the autoencoder, the text, the latents, and where the page goes."""
    parser.add_argument("folder", metavar="FOLDER", help="folder of the autoencoder")
    add_sources(parser)
    text = "number of a latent; may be given several times (default: all)"
    parser.add_argument("--latent", type=options.natural, metavar="N", action="append", default=[], help=text)
    text = "latents that fire on or raise a token that contains this text (upper or lower case)"
    parser.add_argument("--search", metavar="WORD", help=text)
    options.add_out(parser, "out/features", "folder for result.json, features.jsonl and report.html")
    options.add_seed(parser)


def run(args: Namespace) -> int:
    """Load, read and choose latents, save and write the page."""
    from analyses import dictionary
    from analyses.dictionary import inputs
    from interp import cache

    with output_folder(args.out) as folder:
        store = cache.Store.open(args.store) if args.store else None
        opened = inputs.opened(args.folder, store, args.model, args.device, args.hook)
        source = store or opened.own
        if source is None:
            raise MissingInputError(f"{args.folder} does not contain activations: give a store with --store.")
        with console.progress(quiet=args.quiet) as progress:
            study = dictionary.run(
                opened.sae,
                source,
                model=opened.model,
                config=dictionary.Config(name=args.folder, judge=False),
                seed=args.seed,
                command=args.command,
                progress=progress,
            )
        study = replace(study, config=replace(study.config, asked=_chosen(study.features, args)))
        _write(study, str(folder), str(save(study, folder, result=True)), args)
    return 0


def _chosen(features: Any, args: Namespace) -> tuple[int, ...]:
    """Return the named latents, then those that the word matches.

    Raises `MissingInputError` if it matches none.
    """
    named = tuple(dict.fromkeys(args.latent))
    features.check(named)
    if args.search is None:
        return named
    hits = features.search(args.search)[:MOST_MATCHES]
    if not hits and not named:
        raise MissingInputError(
            f'No latent fires on or raises a token that contains "{args.search}": try a shorter word.'
        )
    return tuple(dict.fromkeys((*named, *hits)))


def _write(study: Any, folder: str, report: str, args: Namespace) -> None:
    """Print the cards asked for, or the first few."""
    from analyses.dictionary import card_text

    shown = study.config.asked or tuple(int(latent) for latent in study.features.ranked()[:PRINTED])
    if args.json:
        cards = [card_text.card_values(study.features, latent) for latent in shown]
        console.write_json({"report": report, "result": folder, **study.to_dict(), "cards": cards})
        return
    if not args.quiet:
        console.write(study.finding())
        for latent in shown:
            console.write(card_text.card_lines(study.features, latent))
    console.write(report)
