"""A whole pipeline on one machine: its servers, its relay, its consumers."""
