"""What a connection says when it fails, and what a session sets when it does not."""
