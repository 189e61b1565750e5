"""What operators do to a view, and what they see of it.

`status` compares it with the topic, and `health` watches a consumer that runs. `replay` applies
again in place, `rebuild` beside it; `redrive` tries parked events again, or drops them. Each is a
command of the same name in `commands`, but for `redrive`, which is `parked` there.
"""
