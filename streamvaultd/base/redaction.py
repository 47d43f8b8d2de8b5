# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs as they are shown: without what may be a credential."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_USER: Final = re.compile(r"//[^/?#]*@")
_VALUE: Final = re.compile(r"([?&;#])([^=?&;#]*)=[^?&;#]*")
_SECRET_KEY: Final = re.compile(
    r"(?i)(^|[^a-z]|api|access)(token|sig|signature|auth|key|pass|password|secret|session|sid|jwt|hdn|hmac|credential)"
)


def redact_url(url: str) -> str:
    """The URL with passwords and the values of parameters that look like credentials replaced by ***.

    Wherever they stand: behind a plugin's prefix (hls://https://…), in the path, the query or the fragment.
    """
    return _VALUE.sub(_redacted, _USER.sub("//***@", url))


def _redacted(value: re.Match[str]) -> str:
    return f"{value[1]}{value[2]}=***" if _SECRET_KEY.search(unquote(value[2])) else value[0]
