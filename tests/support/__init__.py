"""What tests of the engine share: virtual time, a store in memory, a toy kind."""
