"""Result documents, and how they look."""
