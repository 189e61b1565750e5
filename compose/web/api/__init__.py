"""What the pages do, for programs: JSON under /api, described by /api/openapi.json.

`app` puts it together. `commands` and `reading` have the routes, `answers` the shapes of what
comes and goes, `problems` all that may be wrong. A token at a command says who acts (`acting`),
a token of a `positions` says what is to be read at least. `about` explains it to people.
"""
