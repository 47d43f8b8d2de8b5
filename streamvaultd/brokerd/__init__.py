# SPDX-License-Identifier: GPL-3.0-or-later
"""The privileged half: a root process that moves processes of the service user into scopes, and nothing else.

`checks` decides, without I/O, what is allowed; `process` looks at the process that was handed over; `manager` talks to
systemd; `service` puts them in order; `main` starts it all.
"""
