"""Kafka as all parts reach it: settings, security, clients and topics."""
