"""What this machine is made of, and its logs. For plugins only; the router never imports it."""
