"""Unit tests of the developer scripts."""
