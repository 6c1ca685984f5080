"""The processor, the memory and the Python under the toolkit, as the system reports them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from interp.cli.check import Check, guarded

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup/memory.max")
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "amx_tile": "AMX",
    "avx512_bf16": "AVX512-bf16",
    "amx_bf16": "AMX-bf16",
}
"""Processor features that speed up matrix products, by their names in the kernel."""


def machine_checks() -> Iterator[Check]:
    """Yield checks of Python, processor, threads and memory."""
    yield Check("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Check("system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    yield from guarded("processor", partial(processor, CPUINFO))
    yield from guarded("threads", threads)
    yield from guarded("memory", partial(memory, MEMINFO, CGROUP))


def processor(source: Path) -> Check:
    """Return the processor's name and its features that speed up matrix products.

    They are unknown where `source` does not exist.
    """
    facts = _facts(source)
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = set(facts.get("flags", "").split())
    if not flags:
        return Check("processor", "ok", f"{name}; features unknown")
    return Check(
        "processor",
        "ok",
        f"{name}; {', '.join(label for flag, label in FEATURES.items() if flag in flags) or 'no AVX2'}",
    )


def threads() -> Check:
    """Check how many processors this process may use.

    And what the environment sets.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = os.environ.get("OMP_NUM_THREADS")
    return Check(
        "threads", "ok", f"{usable} usable of {os.cpu_count()}" + (f"; OMP_NUM_THREADS={setting}" if setting else "")
    )


def memory(source: Path, limit: Path) -> Check:
    """Check the memory of the machine, in GiB.

    What there is, what is free, and the container's limit.
    """
    facts = _facts(source)
    if "MemTotal" not in facts:
        return Check("memory", "ok", "unknown on this system")
    total, free = (int(facts[key].split()[0]) / 2**20 for key in ("MemTotal", "MemAvailable"))
    text = f"{free:.1f} GiB free of {total:.1f}"
    with suppress(OSError, ValueError):  # no container, or no limit ("max")
        text += f"; this container may use {int(limit.read_text()) / 2**30:.1f}"
    return Check("memory", "ok", text)


def _facts(source: Path) -> dict[str, str]:
    """Return the `key: value` lines of a file under /proc, the first of each key.

    Returns nothing where the file does not exist.
    """
    facts: dict[str, str] = {}
    try:
        lines = source.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return facts
    for line in lines:
        key, separator, value = line.partition(":")
        if separator:
            facts.setdefault(key.strip(), value.strip())
    return facts
