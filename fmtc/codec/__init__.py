"""The codec of one coding point; knows no network."""
