# A directory with wheels of agent-router and all its dependencies, for the image's Python.
# Empty: install the package from DIB_AGENT_ROUTER_SOURCE and its dependencies from the package index.
export DIB_AGENT_ROUTER_WHEELS=${DIB_AGENT_ROUTER_WHEELS:-}
# Extras of setup.py that pip installs: "fast" is the fast validator, "image" decompresses gzip three times as fast.
export DIB_AGENT_ROUTER_EXTRAS=${DIB_AGENT_ROUTER_EXTRAS:-fast,image}
# The checkout to install; by default, the one that contains this element.
export DIB_AGENT_ROUTER_SOURCE=${DIB_AGENT_ROUTER_SOURCE:-}
# By default, diskimage-builder uses Python 2 for Debian.
export DIB_PYTHON_VERSION=${DIB_PYTHON_VERSION:-3}
