"""Settings of the agent, and the environment that plugins get."""
