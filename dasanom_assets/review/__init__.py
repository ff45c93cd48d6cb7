"""The analyst's place to work in: a web app over the tables, read-only unless verdicts are switched on."""
