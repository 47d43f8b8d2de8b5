# SPDX-License-Identifier: GPL-3.0-or-later
"""streamvaultd: records live streams on a Linux server, unattended, each segment in its own systemd scope."""

__version__ = "0.1.0"
