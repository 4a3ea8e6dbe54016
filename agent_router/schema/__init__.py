"""Documents and their schemas: JSON text, JSON Schema, problems with their paths, marked values."""
