"""What is stored in Cassandra."""
