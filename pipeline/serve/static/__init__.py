"""The page's files and the headers they are served with."""
