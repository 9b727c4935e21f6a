"""What the Database of a test has outside, by name."""

NAME = "database-shop-shop-uuuuuuuu"
VOLUME = "database-shop-shop-postgres-nnnnnnnn"
SECRET = ("Secret", "shop-credentials")
