"""The wiki, and a window on the pipeline, in a browser.

`app` puts it together, a folder for each area: `acting` (who is it), `wiki`. A request passes the
`safety` around it, and what comes back is made by `showing`.
"""
