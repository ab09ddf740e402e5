"""From images to codecs."""
