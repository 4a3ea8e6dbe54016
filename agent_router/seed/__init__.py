"""Serve images to a fleet: HTTP, BitTorrent and multicast, with the side files that describe them."""
