"""Settings of a run.

They are tables [sae], [data] and [run] of a TOML file, or the same keys as flags. No torch.

    [sae]                            # the fields of saes.Config
    architecture = "topk"
    width = 4608

    [data]                           # the fields of Data
    text = "corpus/"
    hook = "blocks.10.hook_resid_post"

    [run]                            # the fields of Run
    checkpoint_every = 200

Paths are relative to the current folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from interp import settings
from interp.errors import UsageError, nearest
from interp.files import read_toml, short
from saes.config import Config
from saes.runs.synonyms import SYNONYMS

NAME = "config.toml"
SMOLLM2 = "smollm2"


@dataclass(frozen=True)
class Data:
    """Source of the activations.

    It is a store on disk, or text that is harvested first (or streamed).

    Attributes:
        store: folder of a finished harvest (`interp cache run`). With a store, only `hook` and `target` (which select
            hooks of the store) and `model` (which is compared with it) are used.
        text: files, folders, "python-docs", "-" or "hf:NAME", harvested into `activations/` of the run's folder.
        column: column or key of the text in `.jsonl`, `.csv` and `.parquet` files and in data sets.
        model: a Hugging Face name or a local folder. Empty: smollm2 for text, unchecked for a store.
        model_dtype: dtype of the model: float32, bfloat16 or float64.
        hook: hook of the inputs; several for a crosscoder.
        target: transcoder only: hook of the outputs.
        hooks: instead of these two, patterns such as "blocks.*.mlp": one dictionary for every matching hook, trained
            from one harvest (see `saes.train_set`).
        context: tokens per context.
        max_tokens: limit on the number of tokens. None: all of the text.
        store_dtype: dtype on disk: float32, bfloat16 or float16.
        stream: whether to compute activations while training, with none on disk. Every epoch runs the model again, and
            resuming runs it over the activations used before.
        buffer: rows that a stream shuffles at a time, at least four batches. Memory grows with it and with the hooks.

    Example:
        >>> Data(text=("notes.txt",), model="smollm2", hook=("blocks.12.hook_resid_post",)).context
        128
    """

    store: str = ""
    text: tuple[str, ...] = ()
    column: str = "text"
    model: str = ""
    model_dtype: str = "float32"
    hook: tuple[str, ...] = ()
    target: str = ""
    hooks: tuple[str, ...] = ()
    context: int = 128
    max_tokens: int | None = None
    store_dtype: str = "float32"
    stream: bool = False
    buffer: int = 65_536

    def __post_init__(self) -> None:
        if bool(self.store) == bool(self.text):
            given = "both were given" if self.store else "neither was given"
            raise UsageError(f"Activations come from either data.store or data.text; {given}.")
        if self.hooks and (self.hook or self.target):
            raise UsageError(
                "data.hooks names a set of dictionaries, and data.hook and data.target name one: give one or the other."
            )
        if self.text and not self.hook and not self.hooks:
            raise UsageError('data.text needs data.hook: what to harvest, such as "blocks.10.hook_resid_post".')
        if self.stream and not self.text:
            raise UsageError("data.stream computes activations from data.text and cannot be used with a store.")
        if self.stream and len(self.hook) > 1:
            raise UsageError("data.stream does not support several hooks: harvest to disk for a crosscoder.")
        for name in ("context", "max_tokens", "buffer"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"data.{name}={value} must be a whole number of at least 1.")

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Hooks of one dictionary, with the target of a transcoder last."""
        return (*self.hook, self.target) if self.target else self.hook


@dataclass(frozen=True)
class Run:
    """Settings that do not affect the result, except rounding on another device.

    Attributes:
        device: device, such as "cpu" or "cuda:0".
        checkpoint_every: steps between two checkpoints.
        log_every: steps between two lines of metrics.jsonl.
        wandb: Weights & Biases project that also receives the metrics; empty for none.
        tensorboard: whether to write metrics for TensorBoard too, into `tensorboard/` of the run's folder.

    Example:
        >>> Run(device="cpu", log_every=50)
        Run(device='cpu', checkpoint_every=500, log_every=50, wandb='', tensorboard=False)
    """

    device: str = "cpu"
    checkpoint_every: int = 500
    log_every: int = 10
    wandb: str = ""
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"run.{name}={getattr(self, name)} must be a whole number of at least 1.")


@dataclass(frozen=True)
class Settings:
    """Complete settings of a run.

    >>> from saes import Config
    >>> Settings(Config(width=512), Data(store="out/acts")).sae.width
    512
    """

    sae: Config
    data: Data
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        variant, hooks = self.sae.variant, self.data.hook
        one = not self.data.hooks and (self.data.text or self.data.hook)
        if one and bool(self.data.target) != (variant == "transcoder"):
            raise UsageError(
                f'data.target names the outputs of sae.variant="transcoder"; this is "{variant}"'
                f"{'' if self.data.target else ', without a target'}."
            )
        if variant == "crosslayer" and not self.data.hooks:
            raise UsageError('A cross-layer transcoder reads several layers: name them by data.hooks, "blocks.*.mlp".')
        if len(hooks) > 1 and variant != "crosscoder":
            raise UsageError(f'data.hook names {len(hooks)} hooks, which is for sae.variant="crosscoder": "{variant}".')


TABLES: dict[str, type] = {"sae": Config, "data": Data, "run": Run}
Table = dict[str, dict[str, Any]]
"""Values by table and key; combinations are not checked yet."""


def read(file: str | Path) -> Table:
    r"""Read the settings in a TOML file.

    Every key and type is checked.

    Raises:
        MissingInputError: the file does not exist.
        UsageError: invalid TOML, an unknown table or key, or a value of another type.

    Example:
        >>> _ = (folder / "sae.toml").write_text('[sae]\nwidth = 512\n[data]\nstore = "out/acts"\n')
        >>> read(folder / "sae.toml")
        {'sae': {'width': 512}, 'data': {'store': 'out/acts'}}
    """
    path = Path(file)
    document = read_toml(path, f'There is no configuration file "{path}".')
    tables: Table = {}
    for table, keys in document.items():
        if table not in TABLES:
            raise UsageError(f'{path} has an unknown table or key "{table}"{_hint(table)}.')
        if not isinstance(keys, dict):
            raise UsageError(f"{path}: {table} must be a table, written [{table}], not {short(keys)}.")
        tables[table] = {key: _checked(table, key, value, str(path)) for key, value in keys.items()}
    return tables


def assignment(text: str, source: str = "--set") -> tuple[str, str, Any]:
    """Parse an assignment into table, key and value.

    A value that is not TOML is text.

    >>> assignment("sae.k=32")
    ('sae', 'k', 32)
    """
    name, equals, value = text.partition("=")
    table, _, key = name.strip().partition(".")
    if not equals or not key:
        raise UsageError(f'"{source} {text}" does not have the form TABLE.KEY=VALUE, such as sae.k=32.')
    if table not in TABLES:
        raise UsageError(f'{source}: unknown table "{table}"{_hint(table)}; the tables are {", ".join(TABLES)}.')
    _check_key(table, key, source)
    return table, key, settings.assigned(TABLES[table], key, value, f"{source}: {table}.{key}")


def merged(tables: Iterable[Table]) -> Table:
    """Merge tables; later values replace earlier ones.

    >>> merged([{"sae": {"k": 8}}, {"sae": {"k": 16}}])["sae"]
    {'k': 16}
    """
    out: Table = {name: {} for name in TABLES}
    for one in tables:
        for table, keys in one.items():
            out[table] |= keys
    return out


def complete(values: Table, source: str = "") -> Settings:
    """Build the settings from tables; error messages begin with `source`.

    >>> complete({"sae": {"width": 512}, "data": {"store": "out/acts"}}).sae.width
    512
    """
    try:
        return Settings(**{name: kind(**values.get(name, {})) for name, kind in TABLES.items()})
    except UsageError as error:
        raise UsageError(f"{source}: {error}" if source else str(error)) from error


def to_toml(chosen: Settings) -> str:
    """Return the settings as TOML that `read` accepts.

    Keys without a value are omitted.

    >>> print(to_toml(complete({"sae": {"width": 512}, "data": {"store": "out/acts"}})).splitlines()[0])
    [sae]
    """
    lines = []
    for name in TABLES:
        lines.append(f"[{name}]")
        values = asdict(getattr(chosen, name))
        lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value not in (None, "", ())]
        lines.append("")
    return "\n".join(lines)


def complete_table(chosen: Settings) -> dict[str, Any]:
    """Return every value by "table.key".

    >>> complete_table(complete({"sae": {"width": 512}, "data": {"store": "out/acts"}}))["sae.width"]
    512
    """
    return {f"{name}.{key}": value for name in TABLES for key, value in asdict(getattr(chosen, name)).items()}


def _checked(table: str, key: str, value: Any, source: str) -> Any:
    """Return the value converted to the type of the field."""
    _check_key(table, key, source)
    return settings.checked(TABLES[table], key, value, f"{source}: {table}.{key}")


def _check_key(table: str, key: str, source: str) -> None:
    known = settings.kinds(TABLES[table])
    if key not in known:
        elsewhere = [f"{other}.{key}" for other, kind in TABLES.items() if key in settings.kinds(kind)]
        elsewhere = elsewhere or ([SYNONYMS[key]] if key in SYNONYMS else [])
        hint = f'; here it is "{elsewhere[0]}"' if elsewhere else nearest(key, known)
        raise UsageError(f'{source}: unknown key "{table}.{key}"{hint}.')


def _hint(table: str) -> str:
    owners = [name for name, kind in TABLES.items() if table in {f.name for f in fields(kind)}]
    return f"; it belongs below [{owners[0]}]" if owners else nearest(table, TABLES)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(_escaped(c) for c in value) + '"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"
