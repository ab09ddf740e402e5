"""The compressed network: codecs put into a network's graph."""
