"""The domains: one file each."""
