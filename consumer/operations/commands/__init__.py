"""The commands that are about any view, each in a file of its name; a view's own are in its folder.

`stores` finds the views that a command is about, `messages` has what it asks and says, `watch`
keeps showing on a terminal.
"""
