"""Tests of the HTTP surface, without a network."""
