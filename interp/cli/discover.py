"""`interp discover`: the circuit of a task, from one half of the pairs, evaluated on the other."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError

HELP = "find the circuit of a task, and test it on held-out pairs"
EXAMPLE = "interp discover ioi --pairs 20 --out out/ioi"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The task, how edges are scored and chosen, and where the report goes.
    """
    text = (
        "ioi, greater_than, gendered_pronoun, subject_verb, country_capital, successor, induction, docstring, "
        "key_value, or a .csv or .jsonl file of pairs with columns clean, counterfactual, right, wrong"
    )
    parser.add_argument("task", metavar="TASK", help=text)
    text = "pairs of prompts, half to score edges and half to evaluate the circuit (default: 20)"
    parser.add_argument("--pairs", type=options.positive, default=20, metavar="N", help=text)
    text = "method that scores edges, again for more; the first one chooses (default: secant, eap-ig-inputs, eap)"
    parser.add_argument("--method", dest="methods", action="append", default=[], metavar="NAME", help=text)
    text = "fraction of the edges in the circuit (default: the fewest with f of 0.95)"
    parser.add_argument("--share", type=float, default=0.0, metavar="X", help=text)
    text = "number of random circuits to compare with (default: 20)"
    parser.add_argument("--controls", type=options.positive, default=20, metavar="N", help=text)
    options.add_out(parser, "out/discovery", "folder for result.json, arrays.safetensors, circuit.json and report.html")
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Run the study, save it and write the report."""
    from analyses import discovery

    if not 0 <= args.share <= 1:
        raise UsageError(f"--share {args.share}: give a fraction of the edges, from 0 to 1")
    default = discovery.Config()
    config = discovery.Config(
        args.task, args.pairs, tuple(args.methods) or default.methods, args.share, n_controls=args.controls
    )
    with output_folder(args.out) as folder:
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = discovery.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
