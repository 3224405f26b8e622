"""The agent of one replica, and the group of processes that are one replica together."""
