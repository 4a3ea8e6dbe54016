"""What the router knows: methods, their manifests, settings, and how to talk to the runner."""
