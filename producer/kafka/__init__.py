"""Kafka, as every process reaches it.

`settings` are the `KAFKA_…` variables; `security` is the part of them that is about TLS and SASL,
and `oauth` fetches the tokens of OAUTHBEARER. `clients` starts and stops aiokafka's clients,
`topics` names the topics of an application and places keys in partitions. `compat` is all that
touches the insides of aiokafka.
"""
