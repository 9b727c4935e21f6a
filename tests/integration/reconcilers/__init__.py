"""Reconcilers on a real engine."""
