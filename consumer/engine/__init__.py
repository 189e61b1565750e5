"""What keeps any view up to date.

`consumer.Consumer` is the loop: batches come from a `subscription`, wait in a `work_queue`, and are
applied by one `applying.Applier`, wherever the view is kept. What it asks of such a place is
`protocol.Store`; `store.ViewStore` is the one in Postgres, made of `tracking` and `parking`.
`low_water` says up to which position a follower has everything. `batch` says what a batch is. Only `subscription` needs the Kafka client.
"""
