"""Versioned, forward-only schema migrations, run by Alembic in a process of their own."""
