"""Images and networks to work with."""
