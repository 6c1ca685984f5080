"""The probes, one per file. Import them from `probes`."""
