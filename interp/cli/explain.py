"""`interp explain`: why the model continues a prompt with one token rather than another."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder

HELP = "explain why the model predicts one next token rather than another"
EXAMPLE = (
    'interp explain "The Eiffel Tower is located in the city of" --target " Paris" --versus " London" --out out/paris'
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The prompt, what is explained about it, the model, and where the report goes.
    """
    parser.add_argument("prompt", metavar="PROMPT", help="the prompt")
    text = "the next token to explain, with its leading blank (default: the most likely one)"
    parser.add_argument("--target", metavar="TOKEN", help=text)
    text = "explain the logit of the target minus that of this token (default: the target's logit alone)"
    parser.add_argument("--versus", metavar="TOKEN", help=text)
    text = "position of the token after which the prediction is read; negative counts from the end (default: -1)"
    parser.add_argument("--position", type=options.integer, default=-1, metavar="N", help=text)
    text = "a prompt with the same number of tokens: also explain the difference between the two answers"
    parser.add_argument("--counterfactual", metavar="PROMPT", help=text)
    text = "a tuned lens (a file, or a folder written by interp lens): also read the layers through it"
    parser.add_argument("--lens", metavar="FOLDER", help=text)
    text = "number of components shown in the report (default: 10)"
    parser.add_argument("--top", type=options.positive, default=10, metavar="N", help=text)
    text = "largest number of nodes expanded in the path tree (default: 300, with --certify 20,000)"
    parser.add_argument("--max-expansions", type=options.positive, metavar="N", help=text)
    text = "expand until the paths shown are certain to be the largest of all (slow; 80 MB per token for SmolLM2)"
    parser.add_argument("--certify", action="store_true", help=text)
    text = "list single paths, or sums of paths by first token or by components (default: path)"
    parser.add_argument("--group", choices=("path", "token", "component"), default="path", help=text)
    text = "folder for result.json, arrays.safetensors, report.html and graph.json"
    options.add_out(parser, "out/explain", text)
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Explain, save and write the report."""
    from analyses import explain

    with output_folder(args.out) as folder:
        config = explain.Config(
            prompt=args.prompt,
            target=args.target,
            versus=args.versus,
            position=args.position,
            top=args.top,
            max_expansions=args.max_expansions,
            certify=args.certify,
            group=args.group,
            counterfactual=args.counterfactual,
            lens=args.lens,
        )
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = explain.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0
