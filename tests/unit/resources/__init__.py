"""Unit tests of resources."""
