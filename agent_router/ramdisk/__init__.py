"""What only the utility ramdisk does: who it is, how it is reached, how it ends."""
