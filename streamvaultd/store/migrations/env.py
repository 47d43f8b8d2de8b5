# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Alembic for every command: on the connection, and in the transaction, that the caller gave."""

from __future__ import annotations

from alembic import context

from streamvaultd.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column: its tables are rebuilt
    render_as_batch=True,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
