"""What keeps any view up to date.

`consumer.Consumer` is the loop: batches come from a `subscription`, wait in a `work_queue`, and are
applied by one `applying.Applier`, wherever the view is kept. What it asks of such a place is
`protocol.Store`; `store.ViewStore` is the one in Postgres, made of `tracking` and `parking`.
`batch` says what a batch is, and `low_water` up to which position all is applied. Only
`subscription`, and what looks at the topic beside it, need the Kafka client.
"""
