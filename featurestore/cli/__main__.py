"""python -m featurestore.cli: the command line, where no script is installed."""

from featurestore.cli.main import main

main()
