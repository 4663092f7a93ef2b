"""The command line: one module a noun, over the public names of mqbridge alone.

The rules of this room: data goes to stdout, narration to stderr; what destroys is a dry run unless ``--yes`` is said;
an error is one readable message and the next command to try, never a traceback. Needs the extra ``cli`` (click, rich).
"""
