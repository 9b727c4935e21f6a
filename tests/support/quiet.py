"""Thousands of simulated runs would log millions of lines."""

import logging

import structlog


def quiet() -> None:
    """Only what is critical is still told."""
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, cache_logger_on_first_use=False)
