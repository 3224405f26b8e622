"""Operating-system services for local parts: children that end with their parent, directories, ports, logs."""
