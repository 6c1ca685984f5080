"""`interp steer`: dose-response of a steering vector, with controls and its cost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from interp.cli import console, options
from interp.cli.deliver import deliver, output_folder
from interp.errors import UsageError
from interp.files import read_text

HELP = "steer a behaviour with a vector: dose-response, controls and cost"
EXAMPLE = "interp steer sentiment --layers 10,15,20 --out out/steering"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of this command.

    The behaviour, how it is steered, the controls, and where the report goes.
    """
    text = (
        "sentiment, gender, truth, or a .json file with lists positive, negative, prompts, right and wrong and a name"
    )
    parser.add_argument("behaviour", metavar="BEHAVIOUR", help=text)
    text = "how the vector is computed: difference, pca, probe or centred (default: difference)"
    parser.add_argument("--method", default="difference", metavar="NAME", help=text)
    text = "blocks whose output is steered, such as 10,15,20 (default: five, evenly spaced)"
    parser.add_argument("--layers", metavar="L,L", help=text)
    text = "strengths in norms of the stream, such as --strengths=-0.4,0.4 (default: from -0.6 to 0.6)"
    parser.add_argument("--strengths", metavar="S,S", help=text)
    text = "number of random directions of the same norm, the control (default: 100)"
    parser.add_argument("--random", type=options.natural, default=100, metavar="N", help=text)
    text = "file with one text in each line, on which the cost is measured (default: twelve built-in sentences)"
    parser.add_argument("--neutral", metavar="FILE", help=text)
    options.add_out(parser, "out/steering", "folder for result.json, arrays.safetensors and report.html")
    options.add_seed(parser)
    options.add_model(parser)


def run(args: Namespace) -> int:
    """Run the study, save it and write the report."""
    from analyses import steering

    default = steering.Config()
    config = steering.Config(
        behaviour=args.behaviour,
        method=args.method,
        layers=_numbers(args.layers, int, "--layers") or default.layers,
        strengths=_numbers(args.strengths, float, "--strengths") or default.strengths,
        n_controls=args.random,
        neutral=_lines(args.neutral) or default.neutral,
    )
    with output_folder(args.out) as folder:
        model = options.load_model(args)
        with console.progress(quiet=args.quiet) as progress:
            result = steering.run(model, config, command=args.command, seed=args.seed, progress=progress)
        deliver(result, folder, args)
    return 0


def _lines(name: str | None) -> tuple[str, ...]:
    """Return the lines of a text file that are not empty.

    () without the option.
    """
    if name is None:
        return ()
    lines = tuple(line for line in read_text(Path(name)).splitlines() if line.strip())
    if not lines:
        raise UsageError(f"--neutral {name}: the file has no text")
    return lines


def _numbers(text: str | None, kind: type, option: str) -> tuple:
    """Return the numbers of a list with commas, () without the option."""
    try:
        return tuple(kind(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise UsageError(f"{option} {text}: give numbers with commas between them") from None
