"""`interp doctor`: what is installed, what can run here, and how to mend what is missing.

Nothing heavy is imported: versions come from package metadata, facts about the machine from the system.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from interp.cli import console
from interp.cli.machine import machine_checks
from interp.cli.software import software_checks

HELP = "what is installed, which models load offline, and how to mend what is missing"
EXAMPLE = "interp doctor --json"

MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}


def add_arguments(parser: ArgumentParser) -> None:
    """Doctor takes nothing but the common options."""
    parser.description = (
        f"{HELP}. Exits with 1 only when a package the toolkit cannot do without is missing or too old."
    )


def run(args: Namespace) -> int:
    """Examine, tell, and fail only on what is broken; what is merely missing is told with its remedy."""
    checks = [*software_checks(), *machine_checks()]
    healthy = all(check.state != "broken" for check in checks)
    if args.json:
        console.say_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
        return 0 if healthy else 1
    width = max(len(check.name) for check in checks)
    for check in checks:
        if args.quiet and check.state == "ok":
            continue
        console.say(f"{MARKS[check.state]}  {check.name:<{width}}  {check.found}")
        if check.remedy:
            console.say(f"    {'':<{width}}  to mend: {check.remedy}")
    return 0 if healthy else 1
