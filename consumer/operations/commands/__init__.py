"""The commands of the read side that are about any view; a view's own are in its folder."""
