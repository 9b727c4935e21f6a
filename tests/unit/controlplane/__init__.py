"""Unit tests of the engine's pure parts."""
