"""The command line: arguments are parsed by the standard library, and the work imported lazily."""
