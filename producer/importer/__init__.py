"""The edit history of a git repository becomes the history of a wiki.

Each file is a page whose slug is its path. Each commit is visited once, parents first
and by time, and writes every path in which it differs from any of its parents: so at
the end every page equals its file, whatever the merges on the way did. (Follow a path
from its last writer to the tip: no commit in between differs from its parent in it.)

Commits are read as git shows them: with replacements and grafts, authors by the `.mailmap`, and
what it can make of malformed lines. A commit's time is kept beside that of its recording, and a
commit of which something can't be read is named, and the rest goes on. Another history in the
same wiki has a folder of its own, and no import changes pages of others.

The last commit imported is an event of the aggregate `GitImport`, saved in one
transaction with the events of the pages. So an import that was killed goes on where it
stopped, and of two imports at once the library's optimistic locking stops one.
"""
