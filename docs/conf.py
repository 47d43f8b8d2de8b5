# SPDX-License-Identifier: GPL-3.0-or-later
"""How Sphinx makes HTML of these documents, as they stand: `make html`. The man pages are its input as well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

sys.path.insert(0, str(Path(__file__).parents[1]))

from streamvaultd import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "streamvaultd"
author = "streamvaultd developers"
copyright = author  # noqa: A001 - Sphinx calls it so
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["examples/**"]
myst_heading_anchors = 3
smartquotes = False  # or "--name" would be shown with a dash that no command understands
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "260px", "description": "records live streams"}
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False


def setup(app: Sphinx) -> None:
    """The state diagram is shown as its text."""
    app.add_lexer("mermaid", TextLexer)
