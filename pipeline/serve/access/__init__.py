"""Who may ask: tokens, the page's sessions, requests of other sites, and a limit for guesses."""
