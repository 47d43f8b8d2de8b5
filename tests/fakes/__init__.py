# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests put in the place of the world: live sources, misbehaving programs."""
