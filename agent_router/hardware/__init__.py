"""What this machine consists of, and its logs. For plugins only; the router never imports it."""
