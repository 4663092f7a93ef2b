"""The RabbitMQ engine, on pika. `engine` is the only door in."""
