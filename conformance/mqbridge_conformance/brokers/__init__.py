"""Real brokers for tests: Kafka and RabbitMQ in containers, one of each a run, started when somebody asks.

`settings` says how they differ from a broker of production and why, `containers` starts and removes containers,
`servers` knows when each broker is ready and how it is stopped and started again, `linked` and `links` put a way before
it that can be broken, `clusters` starts three nodes of which some may fail, `native_host` has the host of a native
folder stopped like a broker, `provided` hands out the ones of this run, or says why there are none, and `not_run` has
pytest tell about the tests that had none.
"""
