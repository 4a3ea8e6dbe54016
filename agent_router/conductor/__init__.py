"""Everything that knows Ironic: its commands, its steps, its API, what it hands to the ramdisk."""
