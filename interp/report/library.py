"""The part of the `plotly` package's own script that a page needs.

`plotly.min.js` registers some fifty trace types, among them maps and 3-D scenes, in 4.8 MB; pages draw four of them.
The script is a list of modules, each a lazy function such as `var ab=W((e,t)=>{...});`, and its last module registers
the trace types. So entries of that list are dropped, and then each module that no remaining module calls:

1. Split the text at the starts of modules.
2. In the last module, retain the entries whose module declares a trace type of `plotly_json.TYPES`.
3. Starting there, follow calls `name()`; drop the groups of modules that are not reached.

What remains is the text of the package, with its licences, a quarter as long. A version of plotly.js whose pages have
not been tested in a browser is embedded whole.
"""

from __future__ import annotations

import base64
import gzip
import re
from functools import cache

from interp.report.plotly_json import TYPES

TESTED = ("4.1.1",)
"""Versions of plotly.js that are reduced; before a version is added, the browser tests must pass with it."""
_START = re.compile(r"(?<=[;,}\s])(?:var )?([\w$]+)=(?:W|Ea)\((?=\(|[\w$]+=>)")
_CALL = re.compile(r"(?<![\w$.])([\w$]+)\(\)")
_REGISTERED = re.compile(r"\.register\(\[((?:[\w$]+\(\),?)+)\]\)")
_VERSION = re.compile(r"\* plotly\.js v([\d.]+)")


@cache
def library() -> bytes:
    """Return the plotting library that pages embed or load."""
    from plotly.offline import get_plotlyjs

    text = get_plotlyjs()
    version = _VERSION.search(text)
    return (reduced(text) if version and version[1] in TESTED else text).encode()


@cache
def packed_library() -> str:
    """Return the library as gzip in base64."""
    return base64.b64encode(gzip.compress(library(), 9, mtime=0)).decode()


def reduced(text: str, types: tuple[str, ...] = TYPES) -> str:
    """Return plotly.js with the modules that the trace types need.

    Args:
        text: Source of `plotly.min.js`, as the `plotly` package contains it.
        types: Names of trace types, such as "bar".
    """
    starts = list(_START.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    modules = {start[1]: text[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    last = starts[-1][1]
    modules[last] = _registering(modules, last, types)
    head, groups = text[: starts[0].start()], _groups(modules)
    return head + "".join(_reached(head, groups, last))


def _registering(modules: dict[str, str], last: str, types: tuple[str, ...]) -> str:
    """Return the last module with a shorter list of what it registers."""
    declared = re.compile(rf'moduleType:"trace",name:"({"|".join(types)})"')

    def drawn(entry: str) -> bool:
        inner = _CALL.findall(modules[entry.removesuffix("()")])
        return any(declared.search(modules.get(name, "")) for name in inner)

    return _REGISTERED.sub(
        lambda entries: f".register([{','.join(filter(drawn, entries[1].split(',')))}])", modules[last], count=1
    )


def _groups(modules: dict[str, str]) -> list[dict[str, str]]:
    """Return runs of modules that can be dropped, each as text by name.

    A run ends where one statement ends with a module and the next begins with another; between them, functions and
    variables that modules share may stand.
    """
    groups: list[dict[str, str]] = [{}]
    for name, module in modules.items():
        before = next(reversed(groups[-1].values()), "")
        if before.endswith("});") and module.startswith("var "):
            groups.append({})
        groups[-1][name] = module
    return groups


def _reached(head: str, groups: list[dict[str, str]], last: str) -> list[str]:
    """Return the text of each group reached from the last module, in order."""
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    texts = ["".join(group.values()) for group in groups]
    reached: set[int] = set()
    called = {group_of[name] for name in (last, *_CALL.findall(head)) if name in group_of}
    while called:
        index = called.pop()
        reached.add(index)
        called |= {group_of[name] for name in _CALL.findall(texts[index]) if name in group_of} - reached
    return [texts[index] for index in sorted(reached)]
