"""What the pages do, for programs: JSON under /api, described by /api/openapi.json.

`app` puts it together. `commands` and `queries` have the routes, `schemas` the shapes of what
comes and goes, `problems` all that may be wrong. The token of a command says who gives it; a token
of a position (`position_tokens`) says how new what is read has to be. `explanation` is for people.
"""
