"""One module an outside system: value types, Protocol, real class, error translation."""
