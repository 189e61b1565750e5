"""The wiki: commands go to the write model, what is read comes from the views.

A request waits, within a bound, until the view that it reads has what the same browser wrote
(`own_writes`). Then `pages`, `contributors` or `search` answer, of what the `model` has. What is
typed goes through `editing`, where no form loses anything.
"""
