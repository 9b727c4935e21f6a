"""Other people's clients against our API, as they come."""
