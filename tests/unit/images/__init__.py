"""Tests of what runs inside images of ours, as far as it is pure."""
