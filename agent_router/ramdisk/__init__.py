"""What belongs to the utility ramdisk alone: how it is addressed, started and extended."""
