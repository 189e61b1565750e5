"""How far everything is: `overview` reads it, `top` shows it on a terminal.

The window of the web shows the same, from the same `overview`.
"""
