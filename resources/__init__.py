"""What a user may write: one pydantic model a kind. No I/O, no clock, no settings."""
