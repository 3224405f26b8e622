"""`endpoint-analytics doctor`: checks what an installation depends on, and says how to fix what it finds."""
