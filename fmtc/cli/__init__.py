"""The command `fmtc`."""
