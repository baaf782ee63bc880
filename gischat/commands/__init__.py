"""What `gischat COMMAND` does, a module each; `front` is what `gischat` alone does.

A module has `main(arguments, timings)`, which takes the command's own arguments and returns the exit status:

    0    done; told to stop and stopped
    1    it could not be done, or is not well, and has been said why
    2    the arguments are wrong (argparse)
    78   the settings are wrong

Its line in the help stands in `gischat.__main__.COMMANDS`.
"""
