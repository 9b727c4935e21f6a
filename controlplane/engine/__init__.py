"""Watch cache, queue, controllers, leader lease and garbage collection."""
