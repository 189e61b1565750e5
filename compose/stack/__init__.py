"""A whole pipeline on one machine: its servers, its relay, its consumers, its pages.

`stack` starts and stops them, `display` shows them, `demo` is a tour of what they do. `sample` says
which they are. `environment` is how every other command finds a stack that runs.
"""
