"""What local parts ask of the operating system: children that end with their parent, directories, ports, logs."""
