"""Apache Kafka for one machine, from its published jars. Only what fetches, starts and tends it is here."""
