"""The window on the pipeline: how far everything is, live, and what operators do about it.

`polling` reads while anybody watches, `flow` makes of that what is shown, `plots` draws the last
minutes, `jobs` runs what takes long, `pages`, `aggregates` and `actions` are the routes. `app` is
the window on its own. Every number is from `compose.monitor.overview`, and every action goes
through what the command line goes through.
"""
