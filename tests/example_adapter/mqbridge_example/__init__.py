"""A broker in the memory of one process that has queues and nothing else, and its adapter: the smallest honest one."""
