"""What a network's outputs are worth beside the uncompressed one's."""
