"""agent-router: a pluggable agent for the utility ramdisk of bare-metal provisioning."""

__version__ = "0.1.0"
