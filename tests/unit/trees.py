# SPDX-License-Identifier: GPL-3.0-or-later
"""The syntax trees of this project's modules, each read once for all tests of a file."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def tree(path: Path) -> ast.Module:
    """What is in a module."""
    return ast.parse(path.read_text(encoding="utf-8"))
