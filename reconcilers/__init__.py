"""One module a kind: observe, plan, status, apply."""
