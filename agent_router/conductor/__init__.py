"""Everything that knows Ironic: its commands, steps and API, and what it passes to the ramdisk."""
