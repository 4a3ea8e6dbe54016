"""Images onto disks: fetched, verified, resumable. For plugins only; the router never imports it."""
