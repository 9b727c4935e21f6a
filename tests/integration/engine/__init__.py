"""The agent on the real store."""
