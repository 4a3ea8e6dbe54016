"""BitTorrent by libtorrent: what a torrent may be, and one session for each place that pieces go to."""
