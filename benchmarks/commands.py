"""Every command of the README with one model and small options: seconds of processor, and the largest memory.

    python -m benchmarks.commands gemma3-270m --out out/commands --docs docs/models.md
    python -m benchmarks.commands gemma3-270m circuits lens          # some of them again

The options are small, so that all of it takes minutes: the times say that a command runs and what it needs at least.
Rows of earlier runs in the same folder stay in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from interp.files import write_between

PROMPT = "The Eiffel Tower is located in the city of"
CLEAN = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Mary and John went to the store, Mary gave a drink to"
HOOK = "blocks.9.hook_resid_post"
COMMANDS = {
    "doctor": "doctor {model}",
    "explain": f'explain "{PROMPT}" --target " Paris" --versus " London" --model {{model}} --out {{out}}/explain',
    "counterfactual": f'explain "{CLEAN}" --target " Mary" --versus " John" --counterfactual "{OTHER}" '
    "--model {model} --out {out}/counterfactual",
    "circuits": "circuits {model} --controls 2 --out {out}/circuits",
    "discover": "discover ioi --pairs 4 --method secant --controls 2 --model {model} --out {out}/discover",
    "probe": "probe cities --layers 4,9 --model {model} --out {out}/probe",
    "cache": f"cache run python-docs --max-tokens 4000 --hook {HOOK} --model {{model}} --out {{out}}/acts",
    "sae train": "sae train --store {out}/acts --width 512 --steps 60 --batch-size 256 --out {out}/sae",
    "sae evaluate": "sae evaluate {out}/sae --text python-docs --tokens 2000 --model {model} --out {out}/dictionary",
    "sae features": "sae features {out}/sae --store {out}/acts --model {model} --latent 3 --out {out}/features",
    "lens": "lens --contexts 32 --held-out 4 --context 64 --steps 5 --model {model} --out {out}/lens",
    "graph": f'graph "{PROMPT}" --neurons 4 --max-latents 300 --expansions 200 --changed 4 --model {{model}} '
    "--out {out}/graph",
    "steer": "steer sentiment --layers 9 --strengths=-0.3,0.3 --random 2 --model {model} --out {out}/steer",
    "universality": "universality smollm2 {model} --draws 20 --out {out}/universality",
}
"""Later ones use what earlier ones wrote."""


@dataclass(frozen=True)
class Row:
    """One command: its words, exit code, seconds of processor and bytes of memory at its peak."""

    name: str
    command: str
    code: int
    seconds: float
    peak: int
    error: str


def measure(name: str, model: str, out: Path) -> Row:
    """Run one command in a process of its own."""
    line = COMMANDS[name].format(model=model, out=out)
    log = out / f"{name.replace(' ', '-')}.err"
    with log.open("wb") as errors:
        words = [sys.executable, "-m", "interp", *shlex.split(line), "--quiet"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if code else []
    return Row(name, f"interp {line}", code, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, "".join(last))


def table(rows: dict[str, Row], model: str, out: Path) -> str:
    """Return the rows as Markdown."""
    lines = [f"Made by `python -m benchmarks.commands {model} --docs docs/models.md`, float32, one thread.", ""]
    lines += ["| command | processor seconds | peak memory | exit code |", "|---|---|---|---|"]
    for row in rows.values():
        shown = row.command.replace(f"{out}/", "out/")
        lines.append(f"| `{shown}` | {row.seconds:.0f} | {row.peak / 1e9:.2f} GB | {row.code} |")
    return "\n".join(lines)


def main() -> None:
    """Run the commands named, or all, and write the table."""
    parser = argparse.ArgumentParser(description="Seconds and memory of every command with one model.")
    parser.add_argument("model")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMMANDS)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path("out/commands"))
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    saved = args.out / "rows.json"
    rows = {row["name"]: Row(**row) for row in json.loads(saved.read_text())} if saved.exists() else {}
    for name in args.names or COMMANDS:
        rows[name] = row = measure(name, args.model, args.out)
        print(f"{name}: exit code {row.code}, {row.seconds:.0f} s, {row.peak / 1e9:.2f} GB {row.error}", flush=True)
        rows = {name: rows[name] for name in COMMANDS if name in rows}
        saved.write_text(json.dumps([asdict(row) for row in rows.values()], indent=1))
    text = table(rows, args.model, args.out)
    if args.docs:
        write_between(args.docs, "commands", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
