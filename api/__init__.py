"""The HTTP surface: Kubernetes REST conventions, generic over kinds."""
