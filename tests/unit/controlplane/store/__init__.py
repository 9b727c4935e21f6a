"""Unit tests of the store's pure parts."""
