"""An image from web servers: one, or mirrors; in order, or parts from anywhere."""
