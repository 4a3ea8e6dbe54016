"""The HTTP face: routes, errors as JSON, OpenAPI. It knows no plugin by name."""
