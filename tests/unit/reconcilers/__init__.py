"""Unit tests of the reconcilers."""
