"""The hooks of MkDocs, named in mkdocs.yml: they add pages, and adapt the text of each page."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from docsite import reference
from docsite.links import ROOT, mapped, page_of
from docsite.lists import adapted
from docsite.repository import linked_pages

# The theme's plugin `offline` needs this script, and loads it from another host unless mkdocs.yml names it.
_SHIM = "iframe-worker-shim.js"

# Path in the repository of each page whose links are mapped, by its source path in the site.
_sources: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that code hosts give them, so that links to sections work on both."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Give the pages of docs/ their place in the site, and add the pages that are made at the build."""
    _sources.clear()
    for file in list(files):
        if not file.is_documentation_page():
            continue
        path = f"docs/{file.src_uri}"
        _sources[page_of(path)] = path
        if page_of(path) != file.src_uri:
            files.remove(file)
            files.append(File.generated(config, page_of(path), abs_src_path=str(ROOT / path)))
    for path, text in linked_pages():
        _sources[page_of(path)] = path
        files.append(File.generated(config, page_of(path), content=text))
    files.append(File.generated(config, _SHIM, abs_src_path=str(ROOT / "docsite" / "assets" / _SHIM)))
    for name, text in reference.pages():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Map the links of a page to those of the site, and adapt its lists."""
    path = _sources.get(page.file.src_uri)
    if path is not None:
        markdown = mapped(markdown, path, lambda name: files.get_file_from_path(name) is not None)
    return adapted(markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Remove what is of no use in the site: the list of pages for search engines, which needs an address."""
    for name in ("sitemap.xml", "sitemap.xml.gz"):
        (Path(config.site_dir) / name).unlink(missing_ok=True)
