"""Access control: tokens, the page's sessions, cross-site requests, and a rate limit on guesses."""
