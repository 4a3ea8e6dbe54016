"""Where an image is written: a disk or a directory tree, and what writing to them takes."""
