"""What keeps any view up to date: subscription, applying, tracking, parking."""
