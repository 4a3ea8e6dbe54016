"""Give images to a fleet: by HTTP, as a torrent's seed, by multicast, with the files that tell how to get them."""
