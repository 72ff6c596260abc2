"""Messages: transport, consumer, producer, results, queues."""
