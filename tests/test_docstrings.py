"""What the API reference shows: each name has an example that runs, a short first line, and arguments described."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from interp.results import Result
from website import reference

WORDS = 12
"""In a first line, at most."""
LINES = 3
"""Of code in an example, at most."""
DESCRIBED = 2
"""Arguments up to which a docstring needs no sections."""
NOT_CALLED = ("upgrade",)
"""Methods that users write and only `interp.results.load` calls: the base class has the example."""


def public() -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of every function, class and method of the API reference."""
    for package in reference.public_modules():
        module = import_module(package)
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == package]
        for name in reference.exports(package) or [name for name in own if not name.startswith("_")]:
            value = getattr(module, name)
            if inspect.isroutine(value):
                yield f"{package}.{name}", value
            elif inspect.isclass(value):
                yield f"{package}.{name}", value
                yield from ((f"{package}.{name}.{method}", getattr(value, method)) for method in _methods(value))


def _methods(owner: type) -> Iterator[str]:
    for name, value in vars(owner).items():
        if name in NOT_CALLED and owner is not Result:
            continue
        if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)):
            yield name


def without_example(value: Any) -> bool:
    """Whether nothing in the docstring is run, or it is too long to take in."""
    examples = doctest.DocTestParser().get_examples(value.__doc__ or "")
    run = [one for one in examples if not one.options.get(doctest.SKIP)]
    return not run or sum(one.source.count("\n") for one in examples) > LINES


def long_first_line(value: Any) -> bool:
    """Whether the first line of the docstring is missing or long."""
    return not 0 < len((value.__doc__ or "").partition("\n")[0].split()) <= WORDS


def undescribed(value: Any) -> list[str]:
    """Return the arguments of a function of several that its docstring leaves out, and "Returns" likewise."""
    if inspect.isclass(value):
        return []
    signature, doc = inspect.signature(value), inspect.getdoc(value) or ""
    names = [name for name in signature.parameters if name != "self"]
    arguments = re.search(r"^Args:\n((?: +.*(?:\n|$))+)", doc, re.MULTILINE)
    known = re.findall(r"^ {4}\*{0,2}(\w+):", arguments[1] if arguments else "", re.MULTILINE)
    several = len(names) > DESCRIBED
    missing = [name for name in names if name not in known] if several or arguments else []
    silent = signature.return_annotation in (None, "None") or re.search(r"^(Returns|Yields):", doc, re.MULTILINE)
    return missing if silent or not several else [*missing, "Returns"]


def test_every_public_name_has_a_short_example_that_runs() -> None:
    assert [name for name, value in public() if without_example(value)] == []


def test_first_lines_have_at_most_twelve_words() -> None:
    assert [name for name, value in public() if long_first_line(value)] == []


def test_functions_of_several_arguments_describe_them_and_what_they_return() -> None:
    assert {name: missing for name, value in public() if (missing := undescribed(value))} == {}


def test_the_reference_has_functions_classes_and_methods_of_all_packages() -> None:
    """Without these names the tests above would pass by looking at nothing."""
    names = [name for name, _ in public()]
    assert {"interp.Model.generate", "interp.attribution.freeze", "interp.errors.UsageError"} <= {*names}
    assert {"probes.MassMean", "saes.train", "analyses.explain.run"} <= {*names}


def wrong(first: int, second: int, third: int) -> int:
    """Return a number, in a first line that goes on for many more words than a reader takes in.

    >>> wrong(1, 2, 3)  # doctest: +SKIP
    1

    Args:
        first: a number.
        third: another one, in a list that leaves out the second.
    """
    return first


def right(first: int, second: int, third: int) -> int:
    """Return the first number.

    Args:
        first: a number.
        second: not used,
            on a second line.
        third: not used.

    Returns:
        The number.

    >>> right(1, 2, 3)
    1
    """
    return first


def test_each_fault_is_seen() -> None:
    assert without_example(wrong) and long_first_line(wrong) and undescribed(wrong) == ["second", "Returns"]
    assert not without_example(right) and not long_first_line(right) and undescribed(right) == []
