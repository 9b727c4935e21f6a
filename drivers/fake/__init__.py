"""Verified fakes: each is held to the same contract suite as its real driver."""
