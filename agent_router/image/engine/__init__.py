"""Get an image from the first of its sources that has the right one: attempts, each of them one transfer."""
