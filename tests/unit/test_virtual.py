"""Tests in virtual time: run to their end, and fail as others do."""

import asyncio

import pytest

from tests.support.virtual import in_virtual_time


def test_a_test_in_virtual_time_is_run_to_its_end_and_can_fail() -> None:
    @in_virtual_time
    async def failing(took_s: float) -> None:
        await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() < took_s, "too long"

    failing(4000)
    with pytest.raises(AssertionError, match="too long"):
        failing(took_s=3000)
