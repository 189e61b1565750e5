"""The wiki in a browser."""
