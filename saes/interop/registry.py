"""Published dictionaries by name, from SAELens' registry or the hub.

    gemma-scope-2-270m-pt-res/layer_12_width_16k_l0_small       a release of the registry, and the name of an SAE in it
    google/gemma-scope-2b-pt-res/layer_5/width_16k/average_l0_68      a repository, and a folder or a file in it

Only the files of that dictionary are downloaded, into the cache of `huggingface_hub`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from interp.errors import InterpError, MissingInputError, nearest

FILE = "pretrained_saes.yaml"
REFUSED = {
    "temporal": "its latents depend on earlier positions",
    "llama_scope_r1_distill": "the scale of its inputs is not among its files",
    "connor_rob_hook_z": "its settings are in a file of another name",
}
"""Layouts that cannot be read, with the reason."""


@dataclass(frozen=True)
class Published:
    """Location of a published dictionary.

    Attributes:
        repo: repository on the hub.
        path: path of a folder or file in it.
        kind: SAELens' name of the layout; empty for SAELens' own, or if not in the registry.

    Example:
        >>> Published("google/gemma-scope-2b-pt-res", "layer_5/width_16k/average_l0_34", "gemma_2").repo
        'google/gemma-scope-2b-pt-res'
    """

    repo: str
    path: str
    kind: str = ""


def find(name: str) -> Published | None:
    """Return where the dictionary of a published name is stored.

    Returns None if it is not such a name. Raises `MissingInputError` for a release without this SAE, or one that cannot
    be read.
    """
    if not re.fullmatch(r"[\w.-]+(/[\w.=-]+)+", name):
        return None
    release, _, which = name.partition("/")
    known = _registry()
    if release not in known:
        parts = name.split("/", 2)
        return Published("/".join(parts[:2]), parts[2]) if len(parts) == 3 else None
    listed = known[release]
    paths = {str(sae["id"]): str(sae["path"]) for sae in listed["saes"]}
    if which not in paths:
        some = ", ".join(list(paths)[:3])
        raise MissingInputError(f'The release {release} has no "{which}"{nearest(which, paths)}: it has {some}, ...')
    kind = str(listed.get("conversion_func") or "")
    if kind in REFUSED:
        raise MissingInputError(f"{name} cannot be read here: {REFUSED[kind]}.")
    return Published(str(listed["repo_id"]), paths[which], kind)


def download(published: Published) -> Path:
    """Return the local copy of the dictionary, after a download if needed.

    Raises `MissingInputError` if the hub cannot be reached or does not have the files.
    """
    from huggingface_hub import snapshot_download

    path = published.path
    if published.kind == "mntss_clt_layer_transcoder":
        wanted = ["config.yaml", f"W_enc_{path}.safetensors", f"W_dec_{path}.safetensors"]
    else:
        wanted = [path, f"{path}/*", f"{path}.safetensors", "config.yaml"]
    try:
        folder = Path(snapshot_download(published.repo, allow_patterns=wanted))
    except Exception as error:  # a network has many ways to fail, and each library version its own classes for them
        raise MissingInputError(
            f"{published.repo} cannot be downloaded ({' '.join(str(error).split())[:200]}): with no network, give the "
            "folder of a copy."
        ) from error
    local = folder / path
    return local if local.exists() else folder


@cache
def _registry() -> dict[str, Any]:
    """Return SAELens' list of releases without importing the library.

    It is empty if SAELens is not installed.
    """
    spec = find_spec("sae_lens")
    file = Path(spec.origin).parent / FILE if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        return {}
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        releases = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise InterpError(f"{file} cannot be read ({error}): reinstall sae-lens.") from error
    return releases if isinstance(releases, dict) else {}
