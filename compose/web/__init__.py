"""The wiki, and a window on the pipeline, in a browser; and for programs.

`app` puts the wiki together, `pipeline.app` the window without it, both on `base`. There is a
folder for each area: `auth` (who is it), `wiki`, `pipeline` (the window), `api` (for programs). A
request passes the `safety` and the `rates` around it, and what comes back is made by `rendering`.
`commands` has the commands that serve it all.
"""

from starlette.convertors import PathConvertor, register_url_convertor


class AnyPath(PathConvertor):
    """What a slug may be: a line break is not the end of it."""

    regex = "(?s:.*)"


# Before the first route is made.
register_url_convertor("path", AnyPath())
