"""Networks that run without Python."""
