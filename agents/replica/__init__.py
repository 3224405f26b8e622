"""The agent of one replica, and the group of processes that together form one replica."""
