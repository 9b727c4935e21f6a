"""Installations to be broken: the same as the end-to-end tests have."""

from tests.e2e.conftest import make_cloud, private_cloud

__all__ = ["make_cloud", "private_cloud"]
