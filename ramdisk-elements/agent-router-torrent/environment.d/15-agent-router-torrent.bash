# An additional extra of setup.py for pip to install: libtorrent.
export DIB_AGENT_ROUTER_EXTRAS=${DIB_AGENT_ROUTER_EXTRAS:+$DIB_AGENT_ROUTER_EXTRAS,}torrent
