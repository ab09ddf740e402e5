"""The graph of a network, and where its tensors are written; knows no codec."""
