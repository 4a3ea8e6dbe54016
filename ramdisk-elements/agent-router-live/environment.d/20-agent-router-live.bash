# 1: the root is a squashfs inside a small initramfs (least memory, fastest); 0: a plain cpio archive of the root.
export DIB_AGENT_ROUTER_LIVE=${DIB_AGENT_ROUTER_LIVE:-1}
# Compression of the outer file: none, gzip, xz or zstd. Empty: none for a live image (its squashfs is already
# compressed), gzip for a plain one. Since 2025.1, Ironic decompresses a zstd file when it fetches it.
export DIB_AGENT_ROUTER_COMPRESS=${DIB_AGENT_ROUTER_COMPRESS:-}
# zstd level of the squashfs: 3 packs in seconds, 19 is smallest.
export DIB_AGENT_ROUTER_LEVEL=${DIB_AGENT_ROUTER_LEVEL:-15}
# What runs as process 1, unless overridden by agent.init=lean or agent.init=systemd on the kernel command line.
export DIB_AGENT_ROUTER_INIT=${DIB_AGENT_ROUTER_INIT:-systemd}
# 0: leave the root as it is, including perl, locales, package manager and desktop drivers.
export DIB_AGENT_ROUTER_SLIM=${DIB_AGENT_ROUTER_SLIM:-1}
