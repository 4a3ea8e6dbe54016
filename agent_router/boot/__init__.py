"""Boot loaders and boot entries of what was installed. For plugins only; the router never imports it."""
