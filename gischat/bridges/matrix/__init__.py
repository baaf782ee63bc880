"""Matrix, by its client-server API: https://spec.matrix.org/latest/client-server-api/."""
