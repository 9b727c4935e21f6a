"""The engine: errors, plans, store, controllers, budget. Knows no kind and no driver by name."""
