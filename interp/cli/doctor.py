"""`interp doctor`: what is installed, what can run here, and how to fix what is missing.

Nothing heavy is imported: versions come from package metadata, facts about the machine from the system. With a MODEL it
is loaded, and its level and what works with it are printed.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from interp.cli import console
from interp.cli.machine import machine_checks
from interp.cli.software import software_checks

HELP = "check the installation and the models that load offline; with a MODEL, list what works with it"
EXAMPLE = "interp doctor gemma3-270m"

MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the model to examine, if any, and the common options."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="show the level of this model (exact or observed) and what works with it",
    )
    parser.description = f"{HELP}. The exit code is 1 only if a required package is missing or too old."


def run(args: Namespace) -> int:
    """Check the installation, print the results, and fail if anything is broken.

    What is merely missing is printed with its remedy.
    """
    if args.model:
        return _model(args)
    checks = [*software_checks(), *machine_checks()]
    healthy = all(check.state != "broken" for check in checks)
    if args.json:
        console.write_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
        return 0 if healthy else 1
    width = max(len(check.name) for check in checks)
    for check in checks:
        if args.quiet and check.state == "ok":
            continue
        console.write(f"{MARKS[check.state]}  {check.name:<{width}}  {check.value}")
        if check.remedy:
            console.write(f"    {'':<{width}}  fix: {check.remedy}")
    return 0 if healthy else 1


def _model(args: Namespace) -> int:
    """Load a model and print what works with it.

    Its level, the error of its check, and what works with it.
    """
    from interp.model import load
    from interp.model.capabilities import capabilities, check_error

    model = load(args.model)
    error, parts = check_error(model), capabilities(model)
    if args.json:
        report = {"model": model.name, "family": model.spec.family, "level": model.level, "check": error}
        console.write_json(report | {"capabilities": [asdict(part) for part in parts]})
        return 0
    console.write(repr(model))
    given = "" if error is None else f"; its weights reproduce its logits to {error:.1e}"
    console.write(f"level: {model.level}{given}")
    width = max(len(part.name) for part in parts)
    given = ""
    for part in parts:
        reason = "as above" if part.reason and part.reason == given else part.reason
        console.write(f"{MARKS['ok' if part.works else 'missing']}  {part.name:<{width}}  {reason}".rstrip())
        given = part.reason
    return 0
