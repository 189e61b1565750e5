"""What every process needs, whatever it is for."""
