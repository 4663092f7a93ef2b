"""The Kafka engine, on confluent-kafka (librdkafka). `engine` is the only door in."""
