"""Hardware: one resource per file; reading is separate from parsing; a failing collector never stops another."""
