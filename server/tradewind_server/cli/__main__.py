"""`python -m tradewind_server.cli` is the command `tradewind`."""

from tradewind_server.cli.entry import main

if __name__ == "__main__":
    main()
