"""Ironic's deployment: image and config drive onto the root device, files into it, boot entries for it."""
