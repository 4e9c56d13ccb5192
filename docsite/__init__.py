"""The documentation site: what MkDocs does not do itself. `make docs` builds it from docs/ without a network.

`hooks` connects this package to MkDocs. `repository` adds the files outside of docs/ to which pages link, `links` maps
links to pages of the site, `lists` adapts lists to MkDocs' Markdown, and `reference` makes the pages of the reference.
"""
