"""The probes, one a file. Import them from `probes`."""
