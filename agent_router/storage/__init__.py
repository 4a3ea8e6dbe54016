"""Disks: facts, lists, partition tables, mounts, erasing. For plugins only; the router never imports it."""
