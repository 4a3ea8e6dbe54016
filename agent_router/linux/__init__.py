"""What the kernel offers and Python does not."""
