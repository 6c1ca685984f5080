"""Wordings of facts: a few for each set, each with its negation.

A wording contains {subject} and {value}. The first of each set ends with the value, as in the public sets.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """Sentence without its full stop, and its negation.

    >>> Wording("{subject} is in {value}", "{subject} is not in {value}").denied
    '{subject} is not in {value}'
    """

    affirmed: str
    denied: str


CITIES = (
    Wording("The city of {subject} is in {value}", "The city of {subject} is not in {value}"),
    Wording("{subject} is a city in {value}", "{subject} is not a city in {value}"),
    Wording("The city of {subject} lies in {value}", "The city of {subject} does not lie in {value}"),
    Wording("{subject} belongs to {value}", "{subject} does not belong to {value}"),
)
CAPITALS = (
    Wording("{subject} is the capital of {value}", "{subject} is not the capital of {value}"),
    Wording("The city of {subject} is the capital of {value}", "The city of {subject} is not the capital of {value}"),
    Wording("The capital of {value} is {subject}", "The capital of {value} is not {subject}"),
    Wording("The government of {value} sits in {subject}", "The government of {value} does not sit in {subject}"),
)
ELEMENTS = (
    Wording("The chemical symbol of {subject} is {value}", "The chemical symbol of {subject} is not {value}"),
    Wording("The element {subject} has the symbol {value}", "The element {subject} does not have the symbol {value}"),
    Wording("In chemistry, {subject} is written as {value}", "In chemistry, {subject} is not written as {value}"),
    Wording("The symbol {value} stands for {subject}", "The symbol {value} does not stand for {subject}"),
)
NUMBERS = (
    Wording("{subject} is larger than {value}", "{subject} is not larger than {value}"),
    Wording("{subject} is greater than {value}", "{subject} is not greater than {value}"),
    Wording("The number {subject} is larger than {value}", "The number {subject} is not larger than {value}"),
    Wording("{subject} exceeds {value}", "{subject} does not exceed {value}"),
)
TRANSLATIONS = (
    Wording("The {topic} word '{subject}' means '{value}'", "The {topic} word '{subject}' does not mean '{value}'"),
    Wording("In {topic}, '{subject}' means '{value}'", "In {topic}, '{subject}' does not mean '{value}'"),
    Wording("'{subject}' is {topic} for '{value}'", "'{subject}' is not {topic} for '{value}'"),
    Wording("The {topic} for '{value}' is '{subject}'", "The {topic} for '{value}' is not '{subject}'"),
)
BOTH = Wording("It is the case both that {first} and that {second}", "It is not the case that {first} and {second}")
