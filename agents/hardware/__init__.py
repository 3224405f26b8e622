"""Hardware: one resource a file; reading apart from parsing; one collector's failure never stops another."""
