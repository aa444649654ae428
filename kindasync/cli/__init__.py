"""CLI: kind's verbs and flags, and what kind lacks. Parses, calls and renders; decides nothing."""
