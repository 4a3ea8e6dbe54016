"""Disks: facts about block devices, erasing, listing. For plugins only; the router never imports it."""
