"""Everything a person or a client touches: the command line and the page. The only package that may import all others."""
