"""A whole pipeline on one machine: its servers, its relay, its consumers, the wiki in a browser.

`stack` starts and stops them, `display` shows them, `demo` is a tour of what they do. `environment`
is how every other command finds a stack that runs.
"""
