"""The network of the ramdisk: from network_data.json to `ip` commands, its addresses, and taking it down.

links -> plan -> apply; global_addresses and take_down stand alone.
"""
