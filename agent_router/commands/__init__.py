"""From a request to a message for the runner, and from an ended command to its verdict."""
