"""What mkdocs calls while it builds the site: pages of the API and of the notebooks are added to those of docs/."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from website import reference


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the sections of generated pages to the navigation."""
    pages = {name: f"{reference.FOLDER}/{name}.md" for name in reference.public_modules()}
    config.nav = [*(config.nav or []), {"API": [{name: file} for name, file in pages.items()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for name in reference.public_modules():
        files.append(File.generated(config, f"{reference.FOLDER}/{name}.md", content=reference.page(name)))
    return files
