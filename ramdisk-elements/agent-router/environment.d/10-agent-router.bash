# A directory with the wheels of agent-router and of everything it needs, for the Python of the image.
# Empty: the package and its dependencies are built from DIB_AGENT_ROUTER_SOURCE and the package index.
export DIB_AGENT_ROUTER_WHEELS=${DIB_AGENT_ROUTER_WHEELS:-}
# What pip installs besides the package itself: extras of setup.py, "fast" brings the quick validator, "image" unpacks
# gzip three times as fast.
export DIB_AGENT_ROUTER_EXTRAS=${DIB_AGENT_ROUTER_EXTRAS:-fast,image}
# The checkout that is installed; found from the place of this element when not given.
export DIB_AGENT_ROUTER_SOURCE=${DIB_AGENT_ROUTER_SOURCE:-}
# diskimage-builder takes Python 2 for Debian unless told.
export DIB_PYTHON_VERSION=${DIB_PYTHON_VERSION:-3}
