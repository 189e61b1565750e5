"""The wiki in a browser: commands go to the write model, what is read comes from the views.

`app` puts it together. A request passes the `safety` around it, gets to know who is `acting`, and
waits, within a bound, until the view that it reads has what the same browser wrote (`reading`).
Then `pages` or `searching` answer, with what `showing` makes of it.
"""
