"""What the project costs, measured: each module is a command that prints a table, at tiny sizes in the tests too."""
