"""An image by BitTorrent, with libtorrent: raw ones straight to the disk, all others by way of scratch space."""
