"""The only SQL in the project: group-commit writer, change feed, history, migrations."""
