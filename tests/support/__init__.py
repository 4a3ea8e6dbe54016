"""What tests share: machines, servers, swarms and networks of their own, and the tools that stand in for real ones."""
