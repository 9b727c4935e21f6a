"""Unit tests of the engine: in virtual time, on a store in memory."""
