"""What responses say of themselves: streams, tokens, model; outcome batches of requests that ended. Pure."""
