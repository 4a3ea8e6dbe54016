"""Which methods there are: the files that make them, their manifests, and whether they can run here."""
