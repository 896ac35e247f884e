"""The disk cache of computed data: one content-addressed store with checksums and one eviction policy."""
